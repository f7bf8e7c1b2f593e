"""Quantization-aware training: fake-quantized networks, learned scales, the loop; no file is written here."""

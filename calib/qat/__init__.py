"""Quantization-aware training: fake-quantized networks, learned scales, the loop. Writes no file."""

"""Quantization-aware training: fake-quantized networks, learned scales and the loop. What it learns is written by calib.qdq."""

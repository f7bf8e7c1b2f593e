"""Calibration: one step of post-training quantization per file, each from a graph and images to scales or weights."""

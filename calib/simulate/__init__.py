"""A quantized graph run in PyTorch: in float32, exactly, and with gradients. Holds no layer arithmetic of its own."""

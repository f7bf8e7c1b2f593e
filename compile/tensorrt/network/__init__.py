"""The Q/DQ networks of a Jetson bundle: where nodes go, with which scales, and the ONNX that holds them."""

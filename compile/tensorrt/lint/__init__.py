"""Rules that an ONNX file must keep for TensorRT to build it as promised; one table of rules per precision."""

"""Rules that an ONNX file must keep for TensorRT to build its layers in the types asked for; a table per precision."""

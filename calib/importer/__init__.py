"""From a float network of others, an ONNX file or a torch module, to the graph that everything in `calib` works on."""

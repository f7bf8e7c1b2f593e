"""ONNX in, bundle out: the pipeline, and one package for each of its stages. Always imported by its parts."""

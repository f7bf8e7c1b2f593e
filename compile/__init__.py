"""ONNX in, bundle out: the pipeline, and one package for each of its stages. Imported by its parts: from compile import ..."""

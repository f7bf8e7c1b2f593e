"""ONNX in, bundle out. Import as `from compile import ...`: the name shadows a builtin."""

"""The QDQ ONNX file: its writer and its digest. Decides nothing about scales."""

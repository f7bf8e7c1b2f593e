"""TensorRT on Jetson: Q/DQ ONNX by TensorRT's rules, a bundle that builds, checks and measures itself on the board.

An engine belongs to one GPU and one version of TensorRT and cannot be built for a Jetson anywhere else, so the bundle
holds what an engine is built from, and a record of what was verified without the board.
"""

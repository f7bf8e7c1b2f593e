"""What can be checked of the Jetson files without a Jetson: built by TensorRT for RTX, converted by torch-tensorrt."""

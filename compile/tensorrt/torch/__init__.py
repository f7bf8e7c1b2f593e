"""The same networks built by torch-tensorrt."""

"""What watches a training: hooks, TensorBoard, plots."""

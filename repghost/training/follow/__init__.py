"""What watches a training: hooks, TensorBoard, Weights & Biases, plots."""

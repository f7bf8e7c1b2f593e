"""Training under quantization: as a module for a loop of one's own, or done here; teachers of distillation."""

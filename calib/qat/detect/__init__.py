"""Training a detector under quantization: its pictures, its loss on the maps, and what chooses between candidates."""

"""Reading and writing weights. Nothing in a file is executed; what a file holds is recognised from its tensors."""

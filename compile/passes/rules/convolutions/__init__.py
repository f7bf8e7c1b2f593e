"""Rules that lower a node to a convolution; nothing without weights."""

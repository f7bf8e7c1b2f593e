"""The network as a list of operators with numpy weights: traced, run in float32, counted."""

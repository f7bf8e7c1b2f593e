"""RepGhostNet: its shapes, its blocks, its fusion, its parameters and FLOPs."""

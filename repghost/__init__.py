"""RepGhostNet on small devices: train, fuse, quantize, compile, verify, deploy."""

"""How fast a bundle is: one file for each way to measure."""

"""Numbers: the numerics contract, calibration, the integer program and its numpy reference."""

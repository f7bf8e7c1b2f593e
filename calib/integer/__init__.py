"""The numerics contract: the integer program and its numpy reference; nothing here approximates."""

"""The numerics contract: the integer program and its numpy reference. Defines, never approximates."""

"""The numerics contract: the integer program and its numpy reference. Imports numpy alone; defines, never approximates."""

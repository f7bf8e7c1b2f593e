"""Rules that lower a node to a pool, one value from each window of a map; nothing with weights."""

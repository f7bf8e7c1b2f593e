"""Rules for operators that move values and compute none."""

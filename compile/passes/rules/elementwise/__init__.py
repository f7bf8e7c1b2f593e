"""Rules for operators that compute each value from those at its own place; nothing that only moves values."""

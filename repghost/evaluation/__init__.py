"""Accuracy: predictions, intervals, paired differences, classes matched by name. Trains nothing."""

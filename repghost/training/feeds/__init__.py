"""Batches for training: from memory or from a DataLoader, the same order in every process."""

"""Boards: bundles brought to them and back, and what a machine has and lacks."""

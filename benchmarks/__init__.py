"""Measurements that write docs/ and nothing else: not installed, and imported by no other package."""

"""Addresses of boards and commands over one ssh connection. Knows no bundle."""

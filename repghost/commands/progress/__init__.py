"""How training tells the terminal of its progress."""

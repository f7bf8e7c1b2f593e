"""What the functions show: results in a terminal and a notebook, figures, progress."""

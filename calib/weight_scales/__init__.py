"""Weight scales that follow from an integer: the q15 multipliers and layers that sum in int16."""

"""Commands about the float network."""

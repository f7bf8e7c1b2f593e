"""The float network as a file of another framework."""

"""Tables of what can be compiled for: machines, instruction sets, precisions."""

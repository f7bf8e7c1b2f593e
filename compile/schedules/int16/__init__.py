"""Kernels of operators that read or write int16; what only moves numbers has one kernel for both widths in `int8`."""

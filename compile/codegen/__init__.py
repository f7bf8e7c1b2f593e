"""From a program to object files, compiled by TVM."""

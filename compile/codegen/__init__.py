"""From a program to object files: the only package that loads TVM."""

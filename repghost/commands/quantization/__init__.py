"""Commands that quantize and compare ways to quantize."""

"""Commands that quantize and compare ways to quantize; the algorithms belong to `calib`."""

"""From objects to model.so and repghost-run with zig, and what the linked files promise."""

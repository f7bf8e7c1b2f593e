"""Commands that make, check and measure bundles; the stages themselves belong to `compile`."""

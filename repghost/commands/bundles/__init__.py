"""Commands that make, check and measure bundles."""

"""What several benchmarks share: goals, documents, bundles of this version, options, turns."""

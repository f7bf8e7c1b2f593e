"""Files that stages keep: written whole, read within limits, named by what they depend on."""

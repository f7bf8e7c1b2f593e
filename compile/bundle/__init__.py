"""The bundle: its manifest, its vectors, its signature, and loading a host bundle. Runs nothing but model.so itself."""

"""The command line: one file per command, options shared in options/. Imports torch and TVM inside functions only."""

"""The subject of a run: a network, its preprocessing and its images, opened from what the user gave."""

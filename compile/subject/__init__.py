"""What a run is about: a network, its preprocessing and its images, from whatever the user gave."""

"""What is measured of light detectors, on pictures of shapes that a script draws."""

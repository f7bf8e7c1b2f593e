"""One training loop for classifiers, detectors and quantized networks; what differs between them is a `Task`."""

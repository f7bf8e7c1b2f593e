"""The parts of a training run: processes, images, network and optimizer, state, records."""

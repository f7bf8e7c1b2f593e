"""The parts of a training run: processes, pictures, network and optimizer, state, records."""

"""How a user measures a bundle: against other runtimes, layer by layer, or in executed instructions."""

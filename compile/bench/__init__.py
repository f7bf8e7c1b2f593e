"""How a user measures a bundle: against other runtimes, layer by layer, or in executed instructions. Writes no page of docs/."""

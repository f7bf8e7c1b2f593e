"""What int8 costs layer by layer: sensitivity and signal-to-noise ratio. Changes no network."""

"""What int8 costs layer by layer, as sensitivity and signal-to-noise ratio; no network is changed here."""

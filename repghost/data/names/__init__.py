"""Names of classes and splits, and the files that list them; no image is opened here."""

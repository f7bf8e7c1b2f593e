"""What a training keeps on disk to go on exactly where it stopped."""

"""What timm and torchvision know of their networks, a library per file."""

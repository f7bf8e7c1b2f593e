"""Networks of timm and torchvision by name: what each library knows of them, a library per file, and their weights."""

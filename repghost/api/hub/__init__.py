"""Networks and bundles to the Hugging Face hub and back."""

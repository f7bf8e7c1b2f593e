"""What goes to the Hugging Face hub and comes from it."""

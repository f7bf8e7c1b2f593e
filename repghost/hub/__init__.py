"""The Hugging Face hub: what `hf://USER/NAME` names, brought here within limits, and files brought there."""

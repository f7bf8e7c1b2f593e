"""Networks and bundles to where others take them from: the Hugging Face hub, container images."""

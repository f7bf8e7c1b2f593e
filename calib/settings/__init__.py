"""What a user can set about quantization, as frozen values, and where each tensor ends up (QuantSpec)."""

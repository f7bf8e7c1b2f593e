"""The settings of quantization and the scales that follow (QuantSpec), as frozen values; nothing is computed here."""

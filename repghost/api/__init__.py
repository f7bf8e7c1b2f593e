"""The public functions of `repghost`, by noun; `repghost/__init__.py` names them and imports each on first use."""

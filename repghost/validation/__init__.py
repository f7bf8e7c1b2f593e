"""How good networks are: PyTorch's in any form, integer programs and their builds, on the same images."""

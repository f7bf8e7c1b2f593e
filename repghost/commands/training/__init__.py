"""Commands that train and evaluate; the loops belong to `repghost.training` and `repghost.detection`."""

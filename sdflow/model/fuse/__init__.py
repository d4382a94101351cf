"""The inference form: the same function as the training form, made once, for speed alone."""

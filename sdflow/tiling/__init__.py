"""Cutting an image into tiles with halos, and merging the results."""

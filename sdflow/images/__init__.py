"""Image bytes to arrays and back, with everything around the pixels."""

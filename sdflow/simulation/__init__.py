"""A cluster that exists only as arithmetic, to try the scheduler on millions of images."""

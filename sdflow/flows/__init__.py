"""Invertible layers: every one maps forward and back, and tells its log-determinant."""

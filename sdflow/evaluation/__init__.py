"""Measures of images: close to the truth, natural to the eye, as degraded as real photos."""

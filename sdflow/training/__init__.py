"""Unified unpaired training of all four networks from two sets of photos."""

"""Unified unpaired training: both flows, the degradation and the encoder, from two sets of photos."""

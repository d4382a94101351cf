"""The driver: a pure scheduler and the Ray loop around it."""

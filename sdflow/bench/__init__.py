"""``sdflow bench``: this engine beside the published way of running, on one machine, in one run."""

"""The commands: settings in, job run."""

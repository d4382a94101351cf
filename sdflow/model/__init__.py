"""The SDFlow networks, their sizes and their checkpoints."""

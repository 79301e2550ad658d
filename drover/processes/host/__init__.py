"""Properties of the machine: memory, boot id, permissions, network shares, Windows console."""

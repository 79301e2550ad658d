"""What the machine is like: memory, boot id, permissions, network shares, Windows console."""

"""Periodic tasks: limits of disk and memory, recycling, warm pool, start probe, keep-alive, Grid notices."""

"""One browser from start to stop: launcher, DevTools connection, health, saved state, recovery."""

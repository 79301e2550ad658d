"""One browser from start to stop: launcher, DevTools, health, saved state, recovery."""

"""The session, its state transitions, the registry with the only lock, the wait queue, eviction, leases."""

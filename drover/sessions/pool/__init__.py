"""The session, its transitions, the registry with the one lock, the wait queue, eviction, leases."""

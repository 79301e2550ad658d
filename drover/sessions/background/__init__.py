"""What runs by itself: periodic tasks, warm pool, start probe, keep-alive."""

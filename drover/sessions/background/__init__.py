"""Background tasks: periodic tasks, warm pool, start probe, keep-alive."""

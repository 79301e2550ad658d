"""What a session is, how it lives, and how it is kept."""

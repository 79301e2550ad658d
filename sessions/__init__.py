"""What a session is, and the list of all of them."""

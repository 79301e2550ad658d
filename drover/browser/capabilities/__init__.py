"""What a client may ask of Chrome: capabilities, switches and preferences."""

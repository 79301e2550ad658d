"""Several machines as one service: membership, the right to serve, requests for sessions of other nodes."""

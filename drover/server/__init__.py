"""The running service: builds the object graph, runs uvicorn, handles signals."""

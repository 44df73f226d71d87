"""The calls of the service: what they take, and the form of their answers."""

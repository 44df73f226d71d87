"""The way of a request through the server: connection, body, gate, application."""

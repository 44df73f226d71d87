"""The calls and answers of the service, and when to send a call again. Pure."""

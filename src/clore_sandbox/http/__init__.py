"""HTTP: the server, its connections, request bodies, keys and rate limits, and the API's app."""

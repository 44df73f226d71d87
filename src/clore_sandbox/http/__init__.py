"""The HTTP server: connections, request bodies, keys and rate limits, and the API's app."""

"""The service's endpoints, and the JSON of their answers in both dialects."""

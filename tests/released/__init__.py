"""PyPI's clore-ai 0.1.1, in an environment of its own, driven against the local marketplace."""

"""The local Clore.ai marketplace: the same API, real SSH endpoints, nothing to pay."""

"""What the service speaks and what to do about it: calls, answers, retries. Pure."""

"""Faults on demand, odd values in answers, and the journal of all requests."""

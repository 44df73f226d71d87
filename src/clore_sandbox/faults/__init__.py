"""Faults on demand, values that break the documented form, and a journal of the calls."""

"""Benchmarks beside PyPI's clore-ai 0.1.1: `python -m bench` or `make bench`.

Timed runs alternate between ours and theirs, so that the machine's noise affects both; ratios are
taken pair by pair. Requests and errors are counted by the marketplace, not by the client.
"""

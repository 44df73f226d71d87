"""The figures, side by side with PyPI's clore-ai 0.1.1: `python -m bench` or `make bench`.

What is timed runs in turn, ours and theirs, in the same minutes: the machine's noise meets both,
and ratios are taken pair by pair. What is counted is counted by the marketplace, not by the client.
"""

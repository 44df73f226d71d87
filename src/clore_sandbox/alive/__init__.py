"""A living market: simulated renters and hosts rent, bid, change prices, fail and leave, by seed.

decisions.py decides (pure), crowd.py carries the decisions out in the store as requests would be,
and simulation.py runs days of it in seconds and checks the books.
"""

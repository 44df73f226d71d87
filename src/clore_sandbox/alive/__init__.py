"""A living market: simulated renters and hosts that rent, bid, reprice, fail and leave, by seed.

decisions.py decides (pure), crowd.py carries it out in the store as a request would be, week.py runs
days of it in seconds and adds up the books.
"""

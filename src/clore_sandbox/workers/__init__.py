"""One marketplace in several processes: the keeper, which runs the rooms, and workers that answer.

pool.py is the keeper's side and worker.py a worker's; link.py carries the messages of messages.py
between them; shared_market.py extends `Market` for a store that several processes change.
"""

"""One marketplace in several processes: the keeper, which has the rooms, and workers that answer.

crew.py is the keeper's side and worker.py a worker's; link.py carries the messages.py between them;
shared_market.py is what a `Market` does besides where others change the same store.
"""

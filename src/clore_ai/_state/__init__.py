"""The records on this machine, in one store: ledger, hosts, bids, pace, jobs. And the market.

Processes exclude each other for an instant by a transaction of the `store`, for longer by a `lock`.
Single files (config, keys, the market) are written by `folder.write_private`.
"""

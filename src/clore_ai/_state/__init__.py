"""What is kept on this machine, in one store: ledger, hosts, bids, pace, jobs; and the market.

Processes exclude each other for an instant by a transaction of the `store`, for longer by a `lock`.
Single files (config, keys, the market) are written by `folder.write_private`.
"""

"""The records on this machine, in one store: ledger, hosts, bids, pace, jobs. And the market.

For an instant, processes exclude each other by a transaction of the `store`; for longer, by a
`lock`.
Single files (config, keys, the market) are written by `folder.write_private`.
"""

"""The life of one order, from its request to why it ended.

`create` sends the request exactly once, and `claim` finds the order if its answer was lost;
`reconcile` updates the ledger each time the orders are read; `recover` and `orphans` report what
stopped commands left; `wait`, `cancel` and `ending` are the rest of its life.
"""

"""How to rent: flows and plain functions.

Flows open no connection or file, read no clock, start no program and know no event loop: they yield
steps (`_api.steps`). A function that reads or writes the files of `_state` may have to wait for
another process, so a flow calls it by the step `local`. A flow reads from top to bottom: `rent`
finds offers and tries them, `orders` has the life of one order, `spend` and `limits` its cost and
its end, `spot` its bid, `market` the servers, `watch` what changes.
"""

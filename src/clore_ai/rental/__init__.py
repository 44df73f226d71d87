"""How to rent: flows and plain functions.

They open no connection, read no clock, start no program and know no event loop: they yield steps
(`_api.steps`). What is kept on disk they reach through `_state`. A flow is read top down: `rent`
finds offers and tries them, `orders` has the life of one order, `spend` and `limits` its cost and
its end, `spot` its bid, `market` the servers, `watch` what changes.
"""

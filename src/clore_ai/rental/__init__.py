"""How to rent: flows and plain functions, without I/O.

`pick` filters and prices, `check` refuses input before it is sent, `create` makes one order
exactly once, `wait` waits for SSH.
"""

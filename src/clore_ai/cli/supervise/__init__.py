"""Watches jobs and orders, in a terminal or in the background, and ends them.

`keeper` is the background process that ends orders at their limits; `reaping` prints its events and
those of `clore reap`. `follower` is the background process that watches a detached job; `watching`
and `console` watch a job from a terminal.
"""

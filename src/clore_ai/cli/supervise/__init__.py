"""Watches jobs and orders, in a terminal or in the background, and ends them.

`keeper` is the background process that ends orders at their limits, `follower` the one that watches
a detached job; `at_limits` is the loop of the former, which `clore reap` shares; `watching` and
`console` watch a job from a terminal.
"""

"""Faults on demand, odd values in answers, and the journal of all requests.

`http.app` carries the faults of requests out; those of an order travel with it
(`books.orders.Trouble`).
"""

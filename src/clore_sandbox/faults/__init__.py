"""Faults on demand, odd values in answers, and the journal of all requests.

`http.app` carries out the faults of requests. Those of an order travel with it
(`books.orders.Trouble`), and `market.room_steps` carries them out.
"""

"""The marketplace as data: filters, orderings, and what a server costs."""

"""The file under the store: how it is opened, its schema and rows, and what came before it."""

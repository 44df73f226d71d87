"""The file under the store: opening it, its schema and rows, and its predecessors."""

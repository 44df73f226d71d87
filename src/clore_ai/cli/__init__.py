"""The `clore` command."""

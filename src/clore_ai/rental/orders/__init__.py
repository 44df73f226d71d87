"""The life of one order: create, reconcile, wait, cancel, recover, and why it ended."""

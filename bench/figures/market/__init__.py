"""The figures of the local marketplace: its speed, its rooms, its living market."""

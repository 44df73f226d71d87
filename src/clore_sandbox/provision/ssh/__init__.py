"""A room's SSH endpoint: its door, sessions, tunnels and files."""

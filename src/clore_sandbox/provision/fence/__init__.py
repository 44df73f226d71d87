"""The kinds of rooms: plain processes, bubblewrap, or containers."""

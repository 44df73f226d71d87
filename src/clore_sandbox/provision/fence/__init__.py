"""What keeps a rented room apart: a process, bubblewrap, or a container."""

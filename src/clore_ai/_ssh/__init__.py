"""OpenSSH, the user's own: how it is called, and what goes over it to a stranger's machine."""

"""The user's own OpenSSH: how it is called, and what it exchanges with a stranger's machine."""

"""A room's SSH endpoint: logins, sessions, tunnels and SFTP."""

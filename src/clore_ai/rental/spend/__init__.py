"""What orders may cost, what they cost, and when they end."""

"""What of a folder is sent to a machine, and what stays here."""

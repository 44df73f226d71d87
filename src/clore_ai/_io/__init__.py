"""What performs the steps of a flow: HTTP, time, other programs."""

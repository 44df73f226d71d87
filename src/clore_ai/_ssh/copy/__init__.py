"""Files to a machine and from it, over an open connection."""

from clore_ai._values import sizes

MOST_UPLOAD = "200MB"
"""The most that a job uploads without a question."""
MOST_OUTPUT = "50GB"
"""The most that one fetch brings, by default: all outputs of a job together."""
MOST_BYTES = sizes.read(MOST_OUTPUT)

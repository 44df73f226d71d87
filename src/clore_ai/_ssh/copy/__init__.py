"""Files to a machine and from it, over an open connection."""

MOST_BYTES = 50 * 1_000_000_000
"""The most bytes that one fetch may bring, by default: all outputs of a job together."""

MOST_UPLOAD, MOST_OUTPUT = "200MB", "50GB"
"""What a job may upload and fetch, unless its options say otherwise."""

"""The most that a job uploads and fetches, unless its options say otherwise."""

MOST_UPLOAD = "200MB"
MOST_OUTPUT = "50GB"

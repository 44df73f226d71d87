"""The commands of the section "Run"."""

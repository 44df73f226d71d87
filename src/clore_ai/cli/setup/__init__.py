"""The commands of the section "Set up"."""

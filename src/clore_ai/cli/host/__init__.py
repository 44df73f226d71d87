"""The commands of the section "Host"."""

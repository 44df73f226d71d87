"""The commands of the section "Rent"."""

"""The commands of the section "Spot"."""

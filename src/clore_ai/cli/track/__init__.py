"""The commands of the section "Keep track", and the keeper that ends orders at their limits."""

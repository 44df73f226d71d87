"""Reports on orders: what they cost, where the budgets stand, and when they end."""

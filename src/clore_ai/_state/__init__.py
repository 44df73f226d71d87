"""What is kept on this machine: the ledger, host records, bids, turns, the market as last read."""

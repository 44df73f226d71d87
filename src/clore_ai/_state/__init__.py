"""What is kept on this machine, in one store: ledger, hosts, bids, pace, jobs; and the market."""

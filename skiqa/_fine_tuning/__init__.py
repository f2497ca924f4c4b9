"""Training to opinion scores: what is seen, losses, heads and the loop."""

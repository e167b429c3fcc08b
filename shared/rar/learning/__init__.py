"""Learning: what to believe of the weak model, and how shadow inference finds out."""

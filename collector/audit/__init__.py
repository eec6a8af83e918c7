"""The proof that a history is what was seen, for its operator and for others."""

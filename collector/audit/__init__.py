"""The proof that a history is what was seen, for us and for others."""

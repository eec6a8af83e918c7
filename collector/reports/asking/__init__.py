"""Statements that a person writes: what they are made of, times by name, and hints about mistakes."""

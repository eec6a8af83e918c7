"""Answers that were saved earlier and become the beginning of a history."""

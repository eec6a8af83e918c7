"""Answers that somebody saved earlier, as the beginning of a history."""

"""The API: asking it, reading its answer strictly, redaction, and the documented schema."""

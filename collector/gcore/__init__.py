"""What the cloud says: asking it, reading the answer strictly, redacting, and the documented schema."""

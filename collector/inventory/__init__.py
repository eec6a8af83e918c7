"""Pure: what is in an inventory, what changed, and what may be believed. No I/O, no SQL, no clock."""

"""What an inventory contains, what changed, and what can be believed. Pure: no I/O, no SQL, no clock."""

"""Everything that is written: evidence, what is derived from it, and the fence around both."""

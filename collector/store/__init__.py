"""The write side: evidence, what is derived from it, and the fence around both."""

"""The read side: small functions over SQL. Imports no writer."""

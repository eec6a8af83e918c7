"""A Gcore that lives on loopback: for the demo, for tests, for load. It knows what truly happened and when."""

"""A simulated Gcore API on loopback, for the demo, tests and load. It knows what truly happened and when."""

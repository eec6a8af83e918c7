"""An inventory collector with history for Gcore's AI regions."""

__version__ = "0.1.0"

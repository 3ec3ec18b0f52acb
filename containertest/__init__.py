"""Integration tests with unittest against a real PostgreSQL and a real Redis."""

__version__ = "0.1.0"

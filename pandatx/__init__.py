"""The PanDA server as one Twisted process over PostgreSQL."""

__version__ = "0.1.0"

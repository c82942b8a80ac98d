"""The PanDA server as one Twisted process over PostgreSQL."""

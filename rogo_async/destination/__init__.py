"""Writes the results of a run: rows in PostgreSQL, blobs in the container."""

"""What a run writes: rows in PostgreSQL, blobs in the container."""

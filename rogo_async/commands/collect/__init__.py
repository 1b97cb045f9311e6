"""``collect``: what the shards of a run left, put together in the data directory."""

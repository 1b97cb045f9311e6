"""What a run reads: CSV files, source files over HTTP, the warehouse."""

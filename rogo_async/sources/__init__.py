"""Reads the inputs of a run: CSV files, source files over HTTP, the warehouse."""

"""Compares target, blobs and CSV files of a run with independently computed results."""

"""Compares target, blobs and CSV files with the known answer."""

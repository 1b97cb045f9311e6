"""Shared foundations: errors, settings, retries, shutdown, logging, files, URLs."""

"""Generates submissions with every valid variation and every failure case."""

"""``run --workers`` and ``run --scheduler``."""

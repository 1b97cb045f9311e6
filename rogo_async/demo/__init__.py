"""The ``demo`` command: a whole migration on servers of its own."""

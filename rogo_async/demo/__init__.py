"""The ``demo`` command: a complete migration on embedded servers."""

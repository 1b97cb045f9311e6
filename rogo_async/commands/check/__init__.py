"""The ``check`` command: preflight checks of everything that a run needs."""

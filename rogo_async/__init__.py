"""Moves the submissions of the Rogo assessment system to the new marking platform."""

from typing import Final

__version__: Final = "0.6.0"

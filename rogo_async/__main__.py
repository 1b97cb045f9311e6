"""``python -m rogo_async``."""

from rogo_async.cli import main

main(prog_name="rogo_async")

"""``python -m rogo_async``."""

from rogo_async.commands.main import main

main(prog_name="rogo_async")

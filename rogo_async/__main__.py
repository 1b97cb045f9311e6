"""``python -m rogo_async``, also installed as ``rogo-async``."""

from rogo_async.common.streams import open_standard_streams


def run(prog_name: str | None = None) -> None:
    """Run the command line. ``prog_name`` is its name in messages, by default the script's."""
    open_standard_streams()
    from rogo_async.commands.main import main  # noqa: PLC0415 - its imports open files

    main(prog_name=prog_name)


if __name__ == "__main__":
    run("rogo_async")

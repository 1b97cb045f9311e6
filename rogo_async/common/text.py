"""How a message quotes what was found: on one line, and never at any length."""

from collections.abc import Iterable

LONGEST_QUOTE = 120


def quoted(text: str) -> str:
    """Give ``text`` in quotes, control characters escaped, cut after LONGEST_QUOTE characters."""
    if len(text) <= LONGEST_QUOTE:
        return repr(text)
    return f"{text[:LONGEST_QUOTE]!r}… ({len(text)} characters)"


def listed(texts: Iterable[str]) -> str:
    """Give each different text once, quoted, in the order given."""
    return ", ".join(quoted(text) for text in dict.fromkeys(texts))

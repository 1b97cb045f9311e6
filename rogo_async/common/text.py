"""Quote text in messages: on one line, with limited length."""

from collections.abc import Iterable

LONGEST_QUOTE = 120


def quoted(text: str) -> str:
    """``text`` in quotes, with control characters escaped, cut after LONGEST_QUOTE characters."""
    if len(text) <= LONGEST_QUOTE:
        return repr(text)
    return f"{text[:LONGEST_QUOTE]!r}… ({len(text)} characters)"


def listed(texts: Iterable[str]) -> str:
    """The distinct texts, quoted, in the given order."""
    return ", ".join(quoted(text) for text in dict.fromkeys(texts))

"""Text of input cells, and quoted text for messages: on one line, with limited length."""

from collections.abc import Iterable

LONGEST_QUOTE = 120
_KB = 1_024
_MB = 1_024 * 1_024
_NULL = "null"


def is_null_text(text: str) -> bool:
    """Whether a cell is the word NULL: SQL Server Management Studio exports empty values so."""
    return len(text) < 100 and text.strip().lower() == _NULL


def cell_text(text: str) -> str:
    """The trimmed text of a cell; empty for the word NULL (specification §1)."""
    text = text.strip()
    return "" if text.lower() == _NULL else text


def quoted(text: str) -> str:
    """``text`` in quotes, with control characters escaped, cut after LONGEST_QUOTE characters."""
    if len(text) <= LONGEST_QUOTE:
        return repr(text)
    return f"{text[:LONGEST_QUOTE]!r}… ({len(text)} characters)"


def listed(texts: Iterable[str]) -> str:
    """The distinct texts, quoted, in the given order."""
    return ", ".join(quoted(text) for text in dict.fromkeys(texts))


def encodable(text: str) -> str:
    """``text`` with a question mark for each byte of a file name that is not UTF-8."""
    return text.encode(errors="replace").decode()


def plural(count: int, noun: str) -> str:
    """``1 row``, ``2,000 rows``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def size_shown(size_bytes: int) -> str:
    """A size for the operator: ``17 bytes``, ``12.3 kB``, ``1.2 MB``."""
    if size_bytes < _KB:
        return plural(size_bytes, "byte")
    if size_bytes < _MB / 10:
        return f"{size_bytes / _KB:.1f} kB"
    return f"{size_bytes / _MB:,.1f} MB"

"""The result of a bench: a short table for people, and the same numbers as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO


@dataclass(slots=True)
class Report:
    """Numbers by key (``ours.64.rate``), lines of a table, and whether the targets are reached."""

    bench: str
    numbers: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def add(self, key: str, value: float, digits: int = 3) -> None:
        """Add a number."""
        self.numbers[key] = round(value, digits)

    def add_all(self, prefix: str, values: Mapping[str, float], digits: int = 3) -> None:
        """Add several numbers under one prefix."""
        for name, value in values.items():
            self.add(f"{prefix}.{name}", value, digits)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Add a table; the first column is text, the others are numbers."""
        widths = [max(len(row[n]) for row in (header, *rows)) for n in range(len(header))]
        for row in (header, *rows):
            first = row[0].ljust(widths[0])
            rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            self.lines.append("  ".join([first, *rest]))
        self.lines.append("")

    def add_line(self, text: str) -> None:
        """Add a line."""
        self.lines.append(text)

    def target(self, key: str, bound: float, *, most: bool = False) -> None:
        """Add a target: the number must be at least, or at most, ``bound``."""
        value = self.numbers[key]
        held = value <= bound if most else value >= bound
        word = "at most" if most else "at least"
        self.numbers[f"target.{key}"] = bound
        self.numbers[f"held.{key}"] = held
        self.add_line(
            f"{'held  ' if held else 'MISSED'} {key} = {value:g}, wanted {word} {bound:g}"
        )

    @property
    def held(self) -> bool:
        """Whether every target was reached."""
        return all(value for key, value in self.numbers.items() if key.startswith("held."))

    def print(self, table_to: TextIO, json_to: TextIO | None) -> None:
        """Print the table, and the JSON if it is wanted."""
        print(f"bench {self.bench}\n", *self.lines, sep="\n", file=table_to)
        if json_to is not None:
            json.dump({"bench": self.bench, **self.numbers}, json_to, indent=1)
            json_to.write("\n")

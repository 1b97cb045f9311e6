"""Finds secrets and personal data in output, in every form in which they may appear."""

import base64
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

from tests.support.builders import COLUMNS, SourceSubmission

PERSONAL: Final = "zqxperson"
INPUTS: Final = frozenset({"submission_files.csv", "attempt_number_mapping.csv", ".env"})
MEANT_FOR_PERSONAL_DATA: Final = (
    "submissions_failed_migration.csv",
    "failures_by_assessment.csv",
    "migrated.csv",
    "verification_failures.csv",
    "plan.csv",
    ".failed.csv",
    ".journal.jsonl",
    ".orphans.csv",
    ".rollback.csv",
)


def forms(secret: str) -> set[str]:
    """A secret as it is, percent-encoded, and in base64 at each of the three alignments."""
    found = {secret.lower(), quote(secret, safe="").lower()}
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + secret.encode()).decode()
        found.add(encoded[4 if shift else 0 : -4].lower())
    return {form for form in found if len(form) > 7}


@dataclass(slots=True)
class LeakDetector:
    """All output of a command, by its place."""

    secrets: Mapping[str, str]
    outputs: dict[str, str] = field(default_factory=dict)

    def record(self, where: str, text: str) -> None:
        """Add a text."""
        self.outputs[where] = self.outputs.get(where, "") + text

    def record_directory(self, data_dir: Path) -> None:
        """Add every file but the inputs; each must be readable by its owner alone.

        Files meant for personal data are searched for secrets only.
        """
        assert stat.S_IMODE((data_dir / "runs").stat().st_mode) == 0o700
        for path in data_dir.rglob("*"):
            if path.is_dir() or path.name in INPUTS:
                continue
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
            text = path.read_text(encoding="utf-8")
            if path.name.endswith(MEANT_FOR_PERSONAL_DATA):
                text = re.sub(PERSONAL, "(meant to be here)", text, flags=re.IGNORECASE)
            self.record(str(path), text)

    def leaks(self) -> list[tuple[str, str, str]]:
        """Each secret or personal datum found: its name, its place, and the text around it."""
        wanted = {name: forms(secret) for name, secret in self.secrets.items()}
        wanted["personal data"] = {PERSONAL, *list(forms(PERSONAL))}
        return [
            (name, where, _around(text.lower(), form))
            for where, text in self.outputs.items()
            for name, each in wanted.items()
            for form in each
            if form in text.lower()
        ]


def with_markers(made: SourceSubmission, *, but: Iterable[str] = ()) -> SourceSubmission:
    """The submission with a searchable marker in every cell and column that can hold one."""
    kept = {"Attempt ID", "Learner Azure Blob URLs", "Marker Azure Blob URLs", "Error", *but}
    for number, name in enumerate(COLUMNS):
        if name not in kept:
            made.cells[name] = f"{PERSONAL}{number} {name}"
    made.cells["Learner Email"] = f"{PERSONAL}@{PERSONAL}.example"
    made.cells["Learner File Names"] = f"{PERSONAL}.docx"
    for name in {"TIUserId", "TISectionId", "MarkerNotes"} - set(but):
        made.report[name] = f"{PERSONAL}-{name}"
    return made


def _around(text: str, form: str) -> str:
    start = text.index(form)
    return text[max(0, start - 100) : start + 100]

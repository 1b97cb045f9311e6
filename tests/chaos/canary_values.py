"""What must not be seen, in every form in which it may be seen, and where to look for it."""

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
class Lookout:
    """Everything that a run has shown, and where it was shown."""

    secrets: Mapping[str, str]
    shown: dict[str, str] = field(default_factory=dict)

    def see(self, where: str, text: str) -> None:
        """Take in a text."""
        self.shown[where] = self.shown.get(where, "") + text

    def see_directory(self, data_dir: Path) -> None:
        """Take in every file but the inputs; one that is meant for personal data for secrets only.

        Each must be its owner's alone.
        """
        assert stat.S_IMODE((data_dir / "runs").stat().st_mode) == 0o700
        for path in data_dir.rglob("*"):
            if path.is_dir() or path.name in INPUTS:
                continue
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
            text = path.read_text(encoding="utf-8")
            if path.name.endswith(MEANT_FOR_PERSONAL_DATA):
                text = re.sub(PERSONAL, "(meant to be here)", text, flags=re.IGNORECASE)
            self.see(str(path), text)

    def found(self) -> list[tuple[str, str, str]]:
        """Each secret, or personal datum, that was shown: its name, where, and what is around."""
        wanted = {name: forms(secret) for name, secret in self.secrets.items()}
        wanted["personal data"] = {PERSONAL, *list(forms(PERSONAL))}
        return [
            (name, where, _around(text.lower(), form))
            for where, text in self.shown.items()
            for name, each in wanted.items()
            for form in each
            if form in text.lower()
        ]


def marked(made: SourceSubmission, *, but: Iterable[str] = ()) -> SourceSubmission:
    """The submission with a canary of its own in every cell and column that can hold one."""
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
    workspace = text.index(form)
    return text[max(0, workspace - 100) : workspace + 100]

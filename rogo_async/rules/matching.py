"""Rules 10 and 11: the assessment of an Exercise, and the section of each score."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import takewhile
from typing import Final

from rogo_async.common.errors import FailureCode, RowError
from rogo_async.common.text import listed, quoted
from rogo_async.rules.records import Assessment, MalpracticeLevel, Score, Section, SectionMark

_CACHED_ASSESSMENTS: Final = 4_096
_CACHED_LABELS: Final = 32_768
_MAX_CANDIDATES: Final = 5
"""Candidates of each kind in a message."""


class Reference:
    """The target's reference data (specification §1), indexed for the rules.

    ``levels`` keep their order. Results are cached in a bounded cache. A text that is longer than
    every name is not cached, so hostile rows cannot fill the memory.
    """

    def __init__(
        self,
        assessments: Iterable[Assessment],
        sections: Iterable[Section],
        levels: Iterable[MalpracticeLevel],
    ) -> None:
        self.assessments: Final = tuple(assessments)
        self.sections: Final = tuple(sections)
        self.levels: Final = tuple(levels)
        self._names = [(_collapsed(each.name), each) for each in self.assessments]
        self._by_name: defaultdict[str, list[Assessment]] = defaultdict(list)
        for name, assessment in self._names:
            self._by_name[name].append(assessment)
        self._longest_name = max((len(name) for name, _ in self._names), default=0)
        self._texts: defaultdict[str, list[tuple[str, Section]]] = defaultdict(list)
        for section in self.sections:
            self._texts[section.assessment_id].append((_folded(section.question_text), section))
        self._longest_text = max(
            (len(text) for texts in self._texts.values() for text, _ in texts), default=0
        )
        self._cached_named = lru_cache(_CACHED_ASSESSMENTS)(self._named)
        self._cached_labelled = lru_cache(_CACHED_LABELS)(self._labelled)

    def named(self, prefix: str, suffix: str) -> tuple[Assessment, ...]:
        """The assessments that match by name (rule 10), before ``is_active`` is considered."""
        if len(prefix) + len(suffix) > self._longest_name:
            return ()
        return self._cached_named(prefix, suffix)

    def nearest(self, prefix: str, suffix: str) -> tuple[list[str], list[str]]:
        """The names that begin with the prefix, and the other names that end with the suffix.

        In any letter case, and only the few that have the most in common with the wanted name.
        """
        prefix, suffix = prefix.casefold(), suffix.casefold()
        wanted = f"{prefix} {suffix}"
        names = [(name.casefold(), name) for name in self._by_name]
        beginning = [pair for pair in names if pair[0].startswith(prefix)]
        others = [pair for pair in names if not pair[0].startswith(prefix)]
        ending = [pair for pair in others if pair[0].endswith(suffix)]
        return _closest(wanted, beginning), _closest(wanted, ending)

    def labelled(self, assessment_id: str, label: str) -> tuple[Section, ...]:
        """The sections of an assessment that match a label (rule 11), inactive ones included."""
        folded = _folded(label)
        if not folded or len(folded) > self._longest_text:
            return ()
        return self._cached_labelled(assessment_id, folded)

    def _named(self, prefix: str, suffix: str) -> tuple[Assessment, ...]:
        exact = self._by_name.get(f"{prefix} {suffix}")
        if exact:
            return tuple(exact)
        return tuple(each for name, each in self._names if _spans(name, prefix, suffix))

    def _labelled(self, assessment_id: str, folded: str) -> tuple[Section, ...]:
        texts = self._texts.get(assessment_id, [])
        equal = tuple(section for text, section in texts if text == folded)
        if equal:
            return equal
        return tuple(section for text, section in texts if _begins(text, folded))


def match_assessment(exercise: str, version: str, reference: Reference) -> Assessment:
    """Return the assessment of an Exercise and a version (rule 10).

    Raises RowError exercise_invalid, assessment_missing or assessment_ambiguous.
    """
    words = exercise.split()
    if len(words) < 2:
        raise RowError(
            FailureCode.EXERCISE_INVALID, f"Exercise {quoted(exercise)} has fewer than two words"
        )
    prefix, suffix = " ".join(words[:2]), _collapsed(version)
    found = reference.named(prefix, suffix)
    if not found:
        raise RowError(
            FailureCode.ASSESSMENT_MISSING,
            f"no assessment is named {quoted(f'{prefix} {suffix}')}, nor begins with "
            f"{quoted(prefix)} and ends with {quoted(suffix)}; "
            f"{_candidates(*reference.nearest(prefix, suffix))}",
        )
    candidates = found if len(found) == 1 else tuple(each for each in found if each.is_active)
    if len(candidates) != 1:
        raise RowError(
            FailureCode.ASSESSMENT_AMBIGUOUS,
            f"{len(found)} assessments match {quoted(f'{prefix} {suffix}')} and "
            f"{len(candidates)} of them are active: {listed(sorted(each.code for each in found))}",
        )
    return candidates[0]


def match_sections(
    scores: Sequence[Score], assessment: Assessment, reference: Reference
) -> tuple[SectionMark, ...]:
    """Return the section of each score, in the order of the scores (rule 11).

    Raises RowError section_missing (first) or section_ambiguous; each lists all such labels.
    """
    labels = [(score.label or "").strip() for score in scores]
    found = [reference.labelled(assessment.id, label) for label in labels]
    missing = [label for label, sections in zip(labels, found, strict=True) if not sections]
    if missing:
        raise RowError(
            FailureCode.SECTION_MISSING,
            f"no section of {assessment.code} for {listed(missing)}",
        )
    uses = Counter(sections[0].id for sections in found if len(sections) == 1)
    ambiguous = [
        label
        for label, sections in zip(labels, found, strict=True)
        if len(sections) > 1 or uses[sections[0].id] > 1
    ]
    if ambiguous:
        raise RowError(
            FailureCode.SECTION_AMBIGUOUS,
            f"labels and sections of {assessment.code} do not match one to one: "
            f"{listed(ambiguous)}",
        )
    return tuple(
        SectionMark(section_id=sections[0].id, score=score)
        for score, sections in zip(scores, found, strict=True)
    )


def _candidates(beginning: Sequence[str], ending: Sequence[str]) -> str:
    found = [
        f"{what}: {listed(names)}"
        for what, names in (("same beginning", beginning), ("same version", ending))
        if names
    ]
    return "; ".join(found) or "no name has the same beginning or the same version"


def _closest(wanted: str, names: Iterable[tuple[str, str]]) -> list[str]:
    """The names that share the longest beginning with ``wanted``, from pairs of folded and name."""

    def order(pair: tuple[str, str]) -> tuple[int, str]:
        shared = takewhile(lambda both: both[0] == both[1], zip(wanted, pair[0], strict=False))
        return -len(list(shared)), pair[1]

    return [name for _, name in sorted(names, key=order)[:_MAX_CANDIDATES]]


def _collapsed(name: str) -> str:
    return " ".join(name.split())


def _folded(text: str) -> str:
    return text.strip().casefold()


def _spans(name: str, prefix: str, suffix: str) -> bool:
    """Whether a name begins with the prefix as a word and ends with the suffix.

    The two must not overlap.
    """
    rest = name[len(prefix) :]
    return (
        name.startswith(prefix) and rest != "" and not rest[0].isalnum() and rest.endswith(suffix)
    )


def _begins(text: str, label: str) -> bool:
    """Whether a text begins with the whole label: `10` and `1.1` do not begin with label `1`."""
    if not text.startswith(label):
        return False
    following = text[len(label) : len(label) + 2]
    if following[:1].isalnum():
        return False
    return not (following[:1] == "." and following[1:].isdigit())

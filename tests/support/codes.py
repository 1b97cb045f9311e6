"""The codes that a first run of generated data can have."""

from typing import Final

from rogo_async.common.errors import FailureCode, SkipCode

FIRST_RUN_SKIPS: Final = frozenset(SkipCode) - {
    SkipCode.CHANGED_ON_PLATFORM,
    SkipCode.FILES_CHANGED,
}
"""The other two belong to ``--refresh``: test_changed_data_set tests them."""

FIRST_RUN_CODES: Final = frozenset({*FailureCode, *FIRST_RUN_SKIPS}) - {FailureCode.TARGET_CONFLICT}
"""A conflict needs a race, which no data can cause: test_target_conflict tests it."""

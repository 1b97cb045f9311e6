"""A plugin of pytest for the tests of mutants: fewer examples, and servers that already run."""

import os
import sys
from pathlib import Path

import hypothesis
import pytest

STACK_FILE = "ROGO_MUTANTS_STACK"
"""A variable with the path of the file that tells where the servers are."""

_PROFILE = "mutants"


def pytest_configure(config: pytest.Config) -> None:
    """Act after conftest.py is imported, and before a test module is."""
    hypothesis.settings.register_profile(
        _PROFILE, hypothesis.settings(), max_examples=10, derandomize=True, database=None
    )
    hypothesis.settings.load_profile(_PROFILE)
    if STACK_FILE in os.environ:
        from tests import conftest
        from tests.mutants.servers import RunningStack

        described = Path(os.environ[STACK_FILE])
        vars(conftest)["Stack"] = lambda directory: RunningStack(directory, described)
    if "mutmut.stats" in sys.modules:
        from tests.mutants.forking import fork_commands

        config.pluginmanager.register(fork_commands())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests without servers first: they take milliseconds, and pytest ends at a failure."""
    items.sort(key=lambda item: "stack" in getattr(item, "fixturenames", ()))

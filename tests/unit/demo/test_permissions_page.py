"""docs/security.md lists the permissions with which the tests run."""

import re
from importlib.resources import files
from pathlib import Path
from typing import Final

from rogo_async.demo import servers

PAGE: Final = Path(__file__).parents[3] / "docs" / "security.md"


def statements(sql: str) -> list[str]:
    """The statements of a text, without comments and with single blanks."""
    lines = [line for line in sql.splitlines() if not line.lstrip().startswith("--")]
    return [" ".join(each.split()) for each in " ".join(lines).split(";") if each.strip()]


def test_the_grants_of_the_page_are_those_of_the_tests() -> None:
    used = files(servers).joinpath("schema", "target_grants.sql").read_text()
    target, _warehouse = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert statements(target) == statements(used)

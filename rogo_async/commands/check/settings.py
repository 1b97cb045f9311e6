"""The settings, one by one, and as many of them as can be used (specification §4)."""

import difflib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic_settings import DotEnvSettingsSource

from rogo_async.commands.check.results import Findings, Verdict, fail, ok, warning
from rogo_async.common.errors import SetupError
from rogo_async.common.settings import Settings, load_settings

DOTENV: Final = ".env"
_OTHERS: Final = frozenset({"ROGO_DEVSTACK_CACHE"})
"""Variables that parts beside the migration read."""
_LIKE: Final = 0.8
_ROUNDS: Final = 4

_STAND_INS: Final[dict[str, Any]] = {
    "DATABASE_URL": "postgresql://absent.invalid/absent",
    "DATA_WAREHOUSE_CONNECTION_STRING": "absent",
    "AZURE_STORAGE_ACCOUNT_NAME": "absent",
    "ROGO_SOURCE_HOSTS": ("absent.invalid",),
    "ROGO_CONTAINER": "absent",
    "ROGO_INSTANCE_ID": "absent",
    "ROGO_CONSUMER_KEY": "absent",
    "ROGO_CONSUMER_NAME": "absent",
    "ROGO_RETURN_URL_BASE": "absent",
}
"""What stands for a required setting that cannot be used. Nothing is ever done with it: the checks
that would are left out.
"""


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings as far as they can be used; ``problems`` by the names of those that cannot."""

    settings: Settings
    problems: Mapping[str, str]
    given: Mapping[str, str]
    """Where each variable that is set is set: names in upper case."""
    overridden: frozenset[str]

    @classmethod
    def read(cls, overrides: Mapping[str, Any]) -> "Configuration":
        """Read environment and ``.env``; what cannot be used is replaced by something harmless."""
        values = dict(overrides)
        problems: dict[str, str] = {}
        for number in range(_ROUNDS):
            try:
                settings = load_settings(**values)
                break
            except SetupError as error:
                found = dict(_named(problem) for problem in error.problems)
            if not number or (number == 1 and DOTENV in problems):
                # Later rounds find what only the stand-ins have brought about.
                problems |= found
            values |= {_field(name): _stand_in(name) for name in found}
        else:
            raise AssertionError("the stand-ins for settings are no settings")
        overridden = frozenset(name.upper() for name in overrides)
        return cls(settings, problems, _given(), overridden)

    def report(self, findings: Findings) -> None:
        """A line for each setting, and for what looks like one."""
        findings.add("settings.env_file", self._env_file())
        for field in Settings.model_fields:
            name = field.upper()
            if name in self.problems and name not in self.given and DOTENV in self.problems:
                findings.skip(f"settings.{name}", "settings.env_file")
            elif name == "ROGO_SOURCE_SAS_TOKEN" and "ROGO_SOURCE_HOSTS" in self.problems:
                # A token is held against the hosts: without them nobody can tell.
                findings.skip(f"settings.{name}", "settings.ROGO_SOURCE_HOSTS")
            else:
                findings.add(f"settings.{name}", self._verdict(field, name))
        findings.add("settings.unknown", self._unknown())

    def _verdict(self, field: str, name: str) -> Verdict:
        if name in self.problems:
            return _problem(name, self.problems[name], self.given.get(name))
        if name in self.overridden:
            return ok(f"{name} is given on the command line")
        if name in self.given:
            return ok(f"{name} is valid (from {self.given[name]})")
        default = Settings.model_fields[field].default
        shown = ",".join(default) if isinstance(default, tuple) else default
        return ok(f"{name} is not set" + ("" if default is None else f": {shown}"))

    def _env_file(self) -> Verdict:
        path = Path(DOTENV)
        if DOTENV in self.problems:
            return fail(
                f"{DOTENV} {self.problems[DOTENV]}",
                "Save it as UTF-8, owned by the user that runs this: chmod 600 .env",
            )
        if not path.exists():
            return ok(f"there is no {DOTENV} here: the environment alone counts")
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            return warning(
                f"{DOTENV} holds secrets and its mode {mode:04o} lets others at it",
                f"chmod 600 {DOTENV}",
            )
        return ok(f"{DOTENV} is its owner's alone")

    def _unknown(self) -> Verdict:
        known = {field.upper() for field in Settings.model_fields} | _OTHERS
        strange = dict(_strange(self.given, known))
        if not strange:
            return ok("no variable looks like a setting and is none")
        return warning(
            f"no settings of this tool: {', '.join(sorted(strange))}",
            "; ".join(
                f"Is {meant} meant by {name}?" if meant else f"Remove {name}"
                for name, meant in sorted(strange.items())
            ),
        )


def _named(problem: str) -> tuple[str, str]:
    name, _, text = problem.partition(": ")
    return name, text


def _field(name: str) -> str:
    return "_env_file" if name == DOTENV else name.lower()


def _stand_in(name: str) -> Any:
    if name == DOTENV:
        return None
    return _STAND_INS.get(name, Settings.model_fields[name.lower()].default)


def _problem(name: str, text: str, where: str | None) -> Verdict:
    what, _, remedy = text.partition(": ") if text.startswith("is ") else (text, "", "")
    if remedy.startswith(("set ", "name ")):
        return fail(f"{name} {what}", remedy[0].upper() + remedy[1:])
    return fail(f"{name}: {text}", f"Mend it in {where or 'the environment or in .env'}")


def _given() -> dict[str, str]:
    """Where each variable comes from. An empty one counts as none, as the settings have it."""
    try:
        file = DotEnvSettingsSource(Settings, env_file=DOTENV, env_file_encoding="utf-8").env_vars
    except (OSError, UnicodeDecodeError):
        file = {}
    given = {name.upper(): DOTENV for name, value in file.items() if value}
    return given | {name.upper(): "the environment" for name, value in os.environ.items() if value}


def _strange(given: Mapping[str, str], known: set[str]) -> Iterator[tuple[str, str | None]]:
    """Variables that look like settings, with the setting that each may be meant for."""
    for name, where in given.items():
        if name in known:
            continue
        alike = difflib.get_close_matches(name, known, 1, _LIKE)
        if name.startswith("ROGO_") or (alike and where == DOTENV):
            yield name, alike[0] if alike else None

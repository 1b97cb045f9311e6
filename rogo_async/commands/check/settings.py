"""Checks of the settings; invalid ones are replaced so that the other checks can run."""

import difflib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rogo_async.commands.check.results import CheckReport, CheckResult, fail, ok, warning
from rogo_async.common.env_file import ENV_FILE, EnvFile
from rogo_async.common.errors import SetupError
from rogo_async.common.settings import Settings, load_settings

_OTHER_VARIABLES: Final = frozenset({"ROGO_DEVSTACK_CACHE"})
"""Variables of the demo and the tests."""
_ENVIRONMENT_ONLY: Final = (
    "AZURE_CLIENT_ID",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)
"""Variables of azure-identity and of the TLS library."""
_OF_THE_HOSTS: Final = frozenset({"ROGO_SOURCE_SAS_TOKEN", "ROGO_SOURCE_IDENTITY_HOSTS"})
_SIMILARITY: Final = 0.8
_MAX_ROUNDS: Final = 4

_PLACEHOLDERS: Final[dict[str, Any]] = {
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
"""Values for invalid required settings. Never used: the checks that need them are skipped."""


@dataclass(frozen=True, slots=True)
class PartialSettings:
    """The valid settings; ``problems`` by the names of the invalid ones."""

    settings: Settings
    problems: Mapping[str, str]
    origins: Mapping[str, str]
    """Where each variable is set; names in upper case."""
    overridden: frozenset[str]
    env_file: str
    """The path of ``.env``, or of the file of ``--env-file``."""

    @classmethod
    def read(cls, overrides: Mapping[str, Any]) -> "PartialSettings":
        """Read the environment and ``.env``; invalid values are replaced by placeholders."""
        values = dict(overrides)
        env_file = str(overrides.get("_env_file") or ENV_FILE)
        problems: dict[str, str] = {}
        for number in range(_MAX_ROUNDS):
            try:
                settings = load_settings(**values)
                break
            except SetupError as error:
                found = dict(_named(problem) for problem in error.problems)
            if not number or (number == 1 and env_file in problems):
                # Problems of later rounds are caused by the placeholders.
                problems |= found
            for name in found:
                if name == env_file:
                    values["_env_file"] = None
                else:
                    values[name.lower()] = _placeholder(name)
        else:
            raise AssertionError("the placeholders are not valid settings")
        overridden = frozenset(name.upper() for name in overrides)
        return cls(settings, problems, _origins(env_file), overridden, env_file)

    def add_to(self, report: CheckReport) -> None:
        """Add a line for each setting, for ``.env`` and for unknown variables."""
        report.add("settings.env_file", self._env_file())
        for field in Settings.model_fields:
            name = field.upper()
            if (
                name in self.problems
                and name not in self.origins
                and self.env_file in self.problems
            ):
                report.skip(f"settings.{name}", "settings.env_file")
            elif name in _OF_THE_HOSTS and "ROGO_SOURCE_HOSTS" in self.problems:
                # They are matched to hosts, so they cannot be validated without valid hosts.
                report.skip(f"settings.{name}", "settings.ROGO_SOURCE_HOSTS")
            else:
                report.add(f"settings.{name}", self._result(field, name))
        report.add("settings.unknown", self._unknown())

    def _result(self, field: str, name: str) -> CheckResult:
        if name in self.problems:
            return _invalid(
                name,
                self.problems[name],
                self.origins.get(name) or f"the environment or in {self.env_file}",
            )
        if name == "DATABASE_URL" and (ignored := self.settings.target_url.ignored):
            return warning(
                f"{name} has parameters without effect: {', '.join(ignored)}",
                f"Remove them from {name}",
            )
        if name in self.overridden:
            return ok(f"{name} is valid (from the command line)")
        if name in self.origins:
            return ok(f"{name} is valid (from {self.origins[name]})")
        default = Settings.model_fields[field].default
        shown = ",".join(default) if isinstance(default, tuple) else default
        return ok(f"{name} is not set" + ("" if default in {None, ()} else f": default {shown}"))

    def _env_file(self) -> CheckResult:
        name, path = self.env_file, Path(self.env_file)
        problem = self.problems.get(name)
        if problem is not None and problem.startswith("line "):
            return fail(f"{name}: {problem}", f"Correct {name}")
        if problem is not None:
            return fail(
                f"{name} {problem}",
                f"Save it as UTF-8, owned by the user that runs this command: chmod 600 {name}",
            )
        if not path.exists():
            return ok(f"no {name} in this directory: only the environment is used")
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            return warning(
                f"{name} contains secrets, and its mode {mode:04o} gives other users access",
                f"Run chmod 600 {name}",
            )
        return ok(f"{name} is private to its owner")

    def _unknown(self) -> CheckResult:
        known = {field.upper() for field in Settings.model_fields} | _OTHER_VARIABLES
        unknown = dict(_unknown_variables(self.origins, known, self.env_file))
        unread = [name for name in _ENVIRONMENT_ONLY if self.origins.get(name) == self.env_file]
        if unread:
            return warning(
                f"{', '.join(unread)} in {self.env_file}: read from the environment only",
                "Export it, or use EnvironmentFile= of systemd or --env-file of Docker",
            )
        if not unknown:
            return ok("no misspelt ROGO_ variables")
        return warning(
            f"unknown settings: {', '.join(sorted(unknown))}",
            "; ".join(
                f"Rename {name} to {similar}, or remove it" if similar else f"Remove {name}"
                for name, similar in sorted(unknown.items())
            ),
        )


def _named(problem: str) -> tuple[str, str]:
    name, _, text = problem.partition(": ")
    return name, text


def _placeholder(name: str) -> Any:
    return _PLACEHOLDERS.get(name, Settings.model_fields[name.lower()].default)


def _invalid(name: str, text: str, origin: str) -> CheckResult:
    problem, _, remedy = text.partition(": ") if text.startswith("is ") else (text, "", "")
    if remedy.startswith(("set ", "name ", "use ")):
        return fail(f"{name} {problem}", remedy[0].upper() + remedy[1:])
    return fail(f"{name}: {text}", f"Fix it in {origin}")


def _origins(env_file: str) -> dict[str, str]:
    """Where each variable is set. An empty one counts as not set, as in the settings."""
    try:
        file = EnvFile(Settings, Path(env_file)).env_vars
    except (OSError, UnicodeDecodeError, SetupError):
        file = {}
    origins = {name.upper(): env_file for name, value in file.items() if value}
    environment = {name.upper(): "the environment" for name, value in os.environ.items() if value}
    return origins | environment


def _unknown_variables(
    origins: Mapping[str, str], known: set[str], env_file: str
) -> Iterator[tuple[str, str | None]]:
    """Variables that look like settings but are not, with the most similar setting."""
    for name, origin in origins.items():
        if name in known:
            continue
        similar = difflib.get_close_matches(name, known, 1, _SIMILARITY)
        if name.startswith("ROGO_") or (similar and origin == env_file):
            yield name, similar[0] if similar else None

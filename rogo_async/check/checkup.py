"""Everything that a run needs, looked at side by side, told in order (SPEC §5)."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from rogo_async.check.configuration import Configuration
from rogo_async.check.directory import Directory
from rogo_async.check.findings import Finding, Findings, State
from rogo_async.check.machine import machine_checks
from rogo_async.check.sources import SourceChecks
from rogo_async.check.store import StoreChecks
from rogo_async.check.target import Target
from rogo_async.check.warehouse import WarehouseChecks
from rogo_async.control import Control
from rogo_async.guard import Ending
from rogo_async.interrupt import drained_by_signals
from rogo_async.settings import Settings


class Checkup:
    """One check of everything; ``execute`` is called once. ``say`` is given each finding."""

    def __init__(self, configuration: Configuration, say: Callable[[Finding], object]) -> None:
        self._configuration = configuration
        self._say = say
        self._control = Control()
        self.findings = Findings()

    @classmethod
    def of(cls, overrides: Mapping[str, Any], say: Callable[[Finding], object]) -> "Checkup":
        """A check of the settings that stand in the environment and in ``.env``."""
        return cls(Configuration.read(overrides), say)

    @property
    def settings(self) -> Settings:
        """The settings, as far as they can be used."""
        return self._configuration.settings

    async def execute(self) -> Ending:
        """Look, changing nothing that stays. A signal ends it, after what it wrote is gone."""
        with drained_by_signals(self._control):
            looking = asyncio.create_task(self._look(), name="checkup")
            stopped = asyncio.create_task(self._control.stopped(), name="checkup-stopped")
            await asyncio.wait({looking, stopped}, return_when=asyncio.FIRST_COMPLETED)
            looking.cancel()
            stopped.cancel()
            (result, _) = await asyncio.gather(looking, stopped, return_exceptions=True)
            if isinstance(result, Exception):
                raise result
        return self._ending()

    async def _look(self) -> None:
        configuration, findings = self._configuration, self.findings
        settings = configuration.settings
        configuration.report(findings)
        self._tell("settings")
        directory = Directory(settings.rogo_data_dir)
        async with asyncio.TaskGroup() as group:

            def begin(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
                return group.create_task(work, name=f"checking-{name}")

            machine = begin(findings.carry_out(machine_checks(settings)), "machine")
            files = begin(findings.carry_out(directory.checks()), "directory")
            target = begin(Target(settings, findings).execute(), "target")
            warehouse = begin(WarehouseChecks(settings, findings).execute(), "warehouse")
            store = begin(StoreChecks(settings, findings).execute(), "store")
            sources = begin(SourceChecks(settings, findings, directory).execute(files), "sources")
            for task, *subjects in (
                (machine, "machine"),
                (files, "directory", "inputs"),
                (target, "target"),
                (warehouse, "warehouse"),
                (store, "store"),
                (store, "clock"),
                (sources, "source"),
            ):
                await task
                self._tell(*subjects)

    def _tell(self, *subjects: str) -> None:
        for finding in self.findings.of(*subjects):
            self._say(finding)

    def _ending(self) -> Ending:
        findings = self.findings
        warned = findings.count(State.WARNING)
        text = (
            f"{findings.count(State.OK)} ok, {warned} {'warning' if warned == 1 else 'warnings'}, "
            f"{findings.count(State.FAIL)} red, {findings.count(State.SKIPPED)} left out"
        )
        if self._control.reasons:
            return Ending(self._control.exit_code(0), f"{text}; interrupted before the end")
        code = findings.exit_code(settings_readable=not self._configuration.problems)
        return Ending(code, f"{text}; exit {int(code)}")

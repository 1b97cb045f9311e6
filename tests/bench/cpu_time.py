"""CPU time of servers, proxies and clients, from outside."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

MACHINE = "machine"
"""The name of the whole machine's sample: the use by others shows how noisy a run is."""
_INTERVAL_S = 0.5
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, of its children that live and of those it has reaped.

    Read from /proc: to look for children among all processes would cost more than what is metered.
    """
    return sum(_own_seconds(each) for each in (pid, *_children(pid)))


def machine_seconds() -> float:
    """Busy CPU seconds of the whole machine since it started."""
    fields = Path("/proc/stat").read_text("ascii").split("\n", 1)[0].split()[1:9]
    user, nice, system, _idle, _iowait, irq, softirq, _steal = map(int, fields)
    return (user + nice + system + irq + softirq) / _TICKS_PER_S


def _own_seconds(pid: int) -> float:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace")
    except OSError:
        return 0.0
    ticks = stat.rpartition(")")[2].split()[11:15]
    return sum(map(int, ticks)) / _TICKS_PER_S


def _children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@dataclass(slots=True)
class Meters:
    """Samples of CPU time by name, each at a time of the system's clock."""

    samples: list[tuple[float, dict[str, float]]] = field(default_factory=list)

    def used(self, began: float, ended: float) -> dict[str, float]:
        """CPU seconds that each used between the samples nearest to two times."""
        first = min(self.samples, key=lambda sample: abs(sample[0] - began))
        last = min(self.samples, key=lambda sample: abs(sample[0] - ended))
        return {name: last[1][name] - first[1][name] for name in last[1] if name in first[1]}

    def cores(self, began: float, ended: float) -> dict[str, float]:
        """How many cores each used between two times."""
        first = min(self.samples, key=lambda sample: abs(sample[0] - began))
        last = min(self.samples, key=lambda sample: abs(sample[0] - ended))
        seconds = max(last[0] - first[0], 1e-3)
        return {name: used / seconds for name, used in self.used(began, ended).items()}

    def all_used(self) -> dict[str, float]:
        """CPU seconds that each used from the first sample to the last."""
        return self.used(self.samples[0][0], self.samples[-1][0])


@contextlib.asynccontextmanager
async def measure_cpu(pids: Mapping[str, int]) -> AsyncIterator[Meters]:
    """Samples these processes, by name, for the length of a with block."""
    meters = Meters()

    def sample() -> None:
        used = {name: cpu_seconds(pid) for name, pid in pids.items()}
        meters.samples.append((time.time(), {**used, MACHINE: machine_seconds()}))

    async def keep_sampling() -> None:
        while True:
            await asyncio.sleep(_INTERVAL_S)
            sample()

    sample()
    task = asyncio.create_task(keep_sampling(), name="meters")
    try:
        yield meters
    finally:
        task.cancel()
        await asyncio.wait({task})
        sample()

"""A run of our command under a sampling profiler: ``python -m tests.bench.profiled``.

A timer of the process's CPU time interrupts the main thread every millisecond. The thread's CPU
time since the last sample counts for its current stage, that of other threads for "threads". Unlike
cProfile this costs little and does not make calls look more expensive than C code. The profile
starts with the consumers and is written to ``profile.json``: seconds by stage and by function.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections import defaultdict
from pathlib import Path
from types import FrameType
from typing import Any

from rogo_async.commands import runner
from rogo_async.common.logging import configure, format_for
from rogo_async.common.settings import load_settings
from rogo_async.common.shutdown import ExitCode
from rogo_async.pipeline import consumers
from rogo_async.pipeline.run import Run
from rogo_async.pipeline.selection import Selection

INTERVAL_S = 0.001
FUNCTIONS = 40

OURS = (
    ("rogo_async/rules/", "rules"),
    ("rogo_async/destination/postgres/", "target insert"),
    ("rogo_async/sources/warehouse/", "warehouse"),
    ("rogo_async/common/http_session.py", "HTTP protocol"),
    ("rogo_async/sources/http_files", "source GET"),
    ("rogo_async/destination/blobs/store", "store PUT"),
    ("rogo_async/destination/blobs/account", "store PUT"),
    ("rogo_async/pipeline/file_copier", "transfer and hashing"),
    ("rogo_async/destination/blobs/", "transfer and hashing"),
    ("rogo_async/pipeline/writer", "result writer"),
    ("rogo_async/pipeline/producer", "CSV and producer"),
    ("rogo_async/sources/submissions_csv", "CSV and producer"),
    ("rogo_async/sources/mapping_csv", "CSV and producer"),
    ("rogo_async/sources/csv_reader", "CSV and producer"),
    ("rogo_async/common/call_stats", "statistics and circuit breakers"),
    ("rogo_async/common/retry", "statistics and circuit breakers"),
    ("rogo_async/", "consumers and the rest of ours"),
)
LIBRARIES = (
    ("/aiohttp/", "HTTP protocol"),
    ("/asyncpg/", "PostgreSQL protocol"),
    ("/asyncio/", "event loop"),
    ("/selectors.py", "event loop"),
)


class Sampler:
    """Collects seconds by stage and by function."""

    def __init__(self) -> None:
        self.stages: defaultdict[str, float] = defaultdict(float)
        self.functions: defaultdict[str, float] = defaultdict(float)
        self._main_s = 0.0
        self._all_s = 0.0

    def start(self) -> None:
        """Sample from now on."""
        self._main_s, self._all_s = time.thread_time(), time.process_time()
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)

    def stop(self) -> None:
        """Sample no more."""
        signal.setitimer(signal.ITIMER_PROF, 0.0)

    def _sample(self, _number: int, frame: FrameType | None) -> None:
        main_s, all_s = time.thread_time(), time.process_time()
        main, every = main_s - self._main_s, all_s - self._all_s
        self._main_s, self._all_s = main_s, all_s
        if frame is not None and frame.f_code.co_filename == __file__:
            frame = frame.f_back
        self.stages[stage_of(frame)] += main
        self.stages["threads (CSV, ODBC, fsync)"] += max(0.0, every - main)
        self.functions[function_of(frame)] += main


def stage_of(frame: FrameType | None) -> str:
    """The stage of our innermost frame, else of the innermost frame of a known library."""
    names = []
    while frame is not None:
        name = frame.f_code.co_filename
        for part, stage in OURS:
            if part in name and "/bench/" not in name:
                return _finer(stage, frame)
        names.append(name)
        frame = frame.f_back
    for name in names:
        for part, stage in LIBRARIES:
            if part in name:
                return stage
    return "other"


def _finer(stage: str, frame: FrameType) -> str:
    return "hashing" if frame.f_code.co_name == "_hashed" else stage


def function_of(frame: FrameType | None) -> str:
    """Our innermost function, with the library function that it called."""
    called = ""
    while frame is not None:
        path = frame.f_code.co_filename
        if "rogo_async/" in path and "/bench/" not in path:
            own = path.rpartition("rogo_async/")[2]
            below = f" > {called}" if called else ""
            return f"{own}:{frame.f_code.co_name}{below}"
        called = called or f"{'/'.join(path.rsplit('/', 2)[-2:])}:{frame.f_code.co_name}"
        frame = frame.f_back
    return called


def main() -> None:
    """Run the migration, sampled while consumers work."""
    settings = load_settings()
    configure(format_for(sys.stderr, None), colors=False)
    sampler = Sampler()
    work = consumers.ConsumerPool.run

    async def sampled(self: Any, grace_s: float) -> None:
        sampler.start()
        try:
            await work(self, grace_s)
        finally:
            sampler.stop()

    consumers.ConsumerPool.run = sampled  # type: ignore[method-assign]
    with asyncio.Runner(loop_factory=runner._loop_factory()) as loop_runner:
        ending = loop_runner.run(Run(settings, Selection(), None).execute())
    functions = sorted(sampler.functions.items(), key=lambda item: -item[1])[:FUNCTIONS]
    found = {"stages": sampler.stages, "functions": dict(functions)}
    Path("profile.json").write_text(json.dumps(found), "utf-8")
    os._exit(0 if ending.exit_code is ExitCode.DONE else 1)


if __name__ == "__main__":
    main()

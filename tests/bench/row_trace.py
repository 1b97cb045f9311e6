"""Counts the path of one row through the code: ``python -m tests.bench.row_trace``.

Runs 1 row and then 2 rows, with one file each, in this process on the embedded stack. Counts calls
of functions of the package while the pipeline runs; calls in worker threads are not seen. The
difference between both runs is the cost of one more row. Prints one line.
"""

import asyncio
import dis
import functools
import itertools
import logging
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import rogo_async
from rogo_async.common.errors import SetupError
from rogo_async.common.logging import configure
from rogo_async.common.settings import load_settings
from rogo_async.common.shutdown import ExitCode
from rogo_async.demo.servers.stack import Stack
from rogo_async.pipeline.pipeline import Pipeline
from rogo_async.pipeline.run import Run
from rogo_async.pipeline.selection import Selection
from tests.support.builders import Scenario

PACKAGE: Final = f"{Path(rogo_async.__file__).parent}/"
DEMO: Final = f"{PACKAGE}demo/"
REPEATS: Final = 3
"""Of several runs the one with the fewest calls counts: timers add calls to some of them."""


def is_ours(file_name: str) -> bool:
    """Whether a file belongs to the package; the servers of the demo do not count."""
    return file_name.startswith(PACKAGE) and not file_name.startswith(DEMO)


class RowTrace:
    """Calls of functions of the package, in order, and the depth of coroutines at the GET."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.depth_at_get = 0

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        """Handle an event of ``sys.setprofile``. A resumed coroutine is not a new call."""
        code = frame.f_code
        if event != "call" or not is_ours(code.co_filename) or frame.f_lasti != _start(code):
            return
        if code.co_name.startswith("<") and code.co_name != "<lambda>":
            return  # a comprehension belongs to the function around it
        self.calls.append((code.co_filename.removeprefix(PACKAGE), code.co_qualname))

    def profile(self, work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """``work``, with all calls counted until it ends."""

        async def profiled(*args: Any) -> Any:
            sys.setprofile(self)
            try:
                return await work(*args)
            finally:
                sys.setprofile(None)

        return profiled

    def note_depth(self) -> None:
        """Take the deepest chain of coroutines of the package in any task."""
        depths = [_depth(task.get_coro()) for task in asyncio.all_tasks()]
        self.depth_at_get = max(self.depth_at_get, *depths)

    @property
    def module_changes(self) -> int:
        """The number of calls whose module differs from that of the previous call."""
        modules = [module for module, _ in self.calls]
        return sum(one != other for one, other in itertools.pairwise(modules))

    def text(self) -> str:
        modules = {module for module, _ in self.calls}
        return (
            f"{len(self.calls)} calls of {len(set(self.calls))} functions in {len(modules)} "
            f"modules, {self.module_changes} changes of module, "
            f"{self.depth_at_get} coroutines deep at the GET"
        )


@functools.cache
def _start(code: CodeType) -> int:
    """``f_lasti`` of a frame that is entered for the first time."""
    return next(each.offset for each in dis.get_instructions(code) if each.opname == "RESUME")


def _depth(awaited: Any) -> int:
    depth = 0
    while awaited is not None:
        code = getattr(awaited, "cr_code", None) or getattr(awaited, "gi_code", None)
        if code is not None and is_ours(code.co_filename):
            depth += 1
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return depth


async def trace(stack: Stack, rows: int, name: str, data_dir: Path) -> RowTrace:
    """Trace one run of so many rows. Raises SetupError when it does not migrate them."""
    data_dir.mkdir(mode=0o700)
    workspace = await stack.new_workspace(name, data_dir)
    scenario = Scenario(stack, workspace)
    await scenario.load([scenario.submission(attempt) for attempt in range(1, rows + 1)])
    env = {key.lower(): value for key, value in stack.environment_of(workspace).items()}
    found = RowTrace()
    answer_for, pipeline_run = stack.source._due, Pipeline.run

    def answer(path: str) -> Any:
        found.note_depth()
        return answer_for(path)

    stack.source._due = answer  # type: ignore[method-assign]
    Pipeline.run = found.profile(pipeline_run)  # type: ignore[assignment,method-assign]
    try:
        ended = await Run(load_settings(**env), Selection(), None).execute()
    finally:
        stack.source._due = answer_for  # type: ignore[method-assign]
        Pipeline.run = pipeline_run  # type: ignore[method-assign]
    if ended.exit_code is not ExitCode.DONE:
        raise SetupError(ended.summary_line)
    await stack.remove_workspace(workspace)
    return found


async def measure() -> str:
    """Trace runs of 1 and of 2 rows on a stack of their own."""
    with tempfile.TemporaryDirectory(prefix="rogo_row_trace_") as directory:
        async with Stack(Path(directory) / "stack") as stack:
            best: dict[int, RowTrace] = {}
            for rows in (1, 2):
                runs = [
                    await trace(
                        stack, rows, f"r{rows}n{number}", Path(directory) / f"{rows}-{number}"
                    )
                    for number in range(REPEATS)
                ]
                best[rows] = min(runs, key=lambda each: len(each.calls))
    one, two = best[1], best[2]
    return (
        f"1 row: {one.text()}; each further row: {len(two.calls) - len(one.calls)} calls, "
        f"{two.module_changes - one.module_changes} changes of module"
    )


if __name__ == "__main__":
    configure("json", colors=False, level=logging.WARNING)
    print(asyncio.run(measure()))  # noqa: T201 - the result

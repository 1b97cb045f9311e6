"""The long forms of the chaos tests: ``scripts/chaos``."""

import asyncio
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.chaos.distributed_rounds import measure_distributed_run, planned, run_disturbed
from tests.chaos.dropped_replies import DroppedReplies, Reply, only_first, run_with_dropped_replies
from tests.chaos.fault_model import run_random_faults
from tests.chaos.invariants import Findings
from tests.chaos.kill_points import measure_kill_points, one_submission, run_killed_at
from tests.chaos.kills import measure_clean_run, run_killed_after
from tests.chaos.rounds import RoundFactory
from tests.chaos.small_dataset import small_dataset

PROBABILITY: Final = 0.05
"""The probability that a reply is dropped."""

ROUNDS_PER_STACK: Final = 40
"""After a hundred rounds, Azurite does not answer for minutes while it cleans up deleted blobs.
"""


@dataclass(slots=True)
class ChaosReport:
    """The findings of all rounds so far."""

    seed: int
    what: str
    rounds: int = 0
    findings: Findings = field(default_factory=Findings)

    def add_round(self, text: str, findings: Findings) -> None:
        """Add a round and print its result."""
        self.rounds += 1
        self.findings.add(findings)
        click.echo(f"{self.rounds:5}  {text}")
        for line in findings.lines():
            click.echo(f"       {line}")

    def summary_line(self) -> str:
        """The summary line."""
        found = self.findings
        return (
            f"chaos: {self.rounds} {self.what}, {len(found.lost)} lost, "
            f"{len(found.doubled)} doubled, {len(found.dangling)} dangling, "
            f"{len(found.orphaned)} orphaned, {len(found.misjudged)} misjudged; seed {self.seed}"
        )


@asynccontextmanager
async def _stack() -> AsyncIterator[tuple[Stack, Workspace]]:
    with tempfile.TemporaryDirectory(prefix="rogo-chaos-") as directory:
        data_dir = Path(directory) / "base"
        data_dir.mkdir(mode=0o700)
        async with Stack(Path(directory) / "stack") as stack:
            yield stack, await stack.new_workspace("base", data_dir)


async def _kills(report: ChaosReport, kills: int, rows: int) -> None:
    generator = random.Random(report.seed)
    phase: Counter[str] = Counter()
    try:
        for started in range(0, kills, ROUNDS_PER_STACK):
            async with _stack() as (stack, base):
                factory = await RoundFactory.generated(stack, base, rows, report.seed)
                took_s = await measure_clean_run(factory)
                click.echo(
                    f"an undisturbed run of {rows} rows takes {took_s:.1f} s; seed {report.seed}"
                )
                for _ in range(min(ROUNDS_PER_STACK, kills - started)):
                    after_s = generator.uniform(0.0, took_s)
                    kill = await run_killed_after(factory, after_s)
                    phase[kill.phase] += 1
                    text = f"{after_s:5.2f} s, {kill.submissions:4} submissions, {kill.phase}"
                    report.add_round(text, kill.findings)
    finally:
        click.echo(", ".join(f"{count} {where}" for where, count in sorted(phase.items())))


async def _steps(report: ChaosReport, steps: str) -> None:
    generator = random.Random(report.seed)
    async with _stack() as (stack, base):
        factory = await one_submission(stack, base)
        reached = await measure_kill_points(factory)
        chosen = sorted(reached)
        click.echo(f"{len(chosen)} points, reached {sum(reached.values())} times")
        if steps != "all":
            chosen = sorted(generator.sample(chosen, min(int(steps), len(chosen))))
        missed = 0
        for point in chosen:
            nth = generator.randint(1, reached[point])
            died, findings = await run_killed_at(factory, point, nth)
            missed += not died
            report.add_round(f"{point} ({nth}){'' if died else ' not reached'}", findings)
    click.echo(f"{missed} points were not reached again")


async def _replies(report: ChaosReport, times: int, rows: int) -> None:
    generator = random.Random(report.seed)
    async with _stack() as (stack, base):
        factory = await small_dataset(stack, base)
        for kind in Reply:
            if kind is Reply.READ_BACK:  # only read after another fault
                continue
            drops = DroppedReplies(only_first(kind), silent=True)
            async with factory.round() as chaos_round:
                findings = await run_with_dropped_replies(chaos_round, drops)
                report.add_round(f"{drops.lost.total()} reply to {kind} dropped, silence", findings)
    async with _stack() as (stack, base):
        factory = await RoundFactory.generated(stack, base, rows, report.seed)
        for _ in range(times):
            drops = DroppedReplies(lambda _: generator.random() < PROBABILITY)
            async with factory.round() as chaos_round:
                findings = await run_with_dropped_replies(chaos_round, drops)
                lost = ", ".join(f"{count} of {kind}" for kind, count in drops.lost.items())
                report.add_round(f"{drops.lost.total()} replies at random: {lost}", findings)


async def _faults(report: ChaosReport, rounds: int) -> None:
    async with _stack() as (stack, base):
        await run_random_faults(await small_dataset(stack, base), rounds, 25, report.add_round)


async def _distributed(report: ChaosReport, kills: int, rows: int) -> None:
    generator = random.Random(report.seed)
    faults = planned(kills, report.seed)
    for started in range(0, len(faults), ROUNDS_PER_STACK):
        async with _stack() as (stack, base):
            factory = await RoundFactory.generated(stack, base, rows, report.seed)
            clean = await measure_distributed_run(factory)
            click.echo(f"an undisturbed run takes {clean.ends_s:.1f} s; seed {report.seed}")
            for fault in faults[started : started + ROUNDS_PER_STACK]:
                report.add_round(*await run_disturbed(factory, fault, generator, clean))


@click.command()
@click.option(
    "--kills",
    type=click.IntRange(1),
    help="Number of runs to kill at random moments [default: 200].",
)
@click.option("--steps", help="Number of points in one submission to kill at, or 'all'.")
@click.option("--replies", type=click.IntRange(1), help="Number of runs with dropped replies.")
@click.option(
    "--faults", "rounds", type=click.IntRange(1), help="Number of rounds with mixed faults."
)
@click.option(
    "--distributed",
    "workers",
    type=click.IntRange(1),
    is_flag=False,
    flag_value=30,
    help="Number of distributed runs in which a worker is killed [30 without a number]; in a sixth "
    "as many each, a worker is frozen, the scheduler or the command is killed.",
)
@click.option("--weather", "rounds", type=click.IntRange(1), hidden=True)
@click.option("--rows", type=click.IntRange(1), default=300, show_default=True)
@click.option("--seed", type=int, help="Seed of the random generator [default: random].")
def main(
    kills: int | None,
    steps: str | None,
    replies: int | None,
    rounds: int | None,
    workers: int | None,
    rows: int,
    seed: int | None,
) -> None:
    """Disturb runs in one way and check that nothing is lost, doubled, dangling or orphaned."""
    seed = random.randrange(1_000_000) if seed is None else seed
    work: Callable[[ChaosReport], Awaitable[None]]
    if steps is not None:
        what, work = "kills at a point", lambda report: _steps(report, steps)
    elif replies is not None:
        what, work = "runs with dropped replies", lambda report: _replies(report, replies, rows)
    elif rounds is not None:
        what, work = "rounds of faults", lambda report: _faults(report, rounds)
    elif workers is not None:
        what, work = "distributed runs", lambda report: _distributed(report, workers, rows)
    else:
        what, work = "kills", lambda report: _kills(report, kills or 200, rows)
    report = ChaosReport(seed, what)
    interrupted = False
    # A shell makes its background commands ignore SIGINT; the result so far is worth printing.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    async def to_the_end() -> None:
        await work(report)

    try:
        asyncio.run(to_the_end())
    except KeyboardInterrupt:
        interrupted = True
    click.echo(report.summary_line())
    sys.exit(130 if interrupted else 1 if report.findings.lines() else 0)


if __name__ == "__main__":
    main()

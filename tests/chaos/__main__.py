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
from tests.chaos.dropped_replies import Losses, Reply, disturbed, first_of
from tests.chaos.fault_model import weather
from tests.chaos.invariants import Findings
from tests.chaos.kill_points import killed_at, one_submission, points
from tests.chaos.kills import killed, undisturbed
from tests.chaos.rounds import Ground
from tests.chaos.small_dataset import handful

CHANCE: Final = 0.05
"""Of a reply to get lost, where they do at random."""

STACK_LASTS: Final = 40
"""Rounds. After a hundred, tidying up what was deleted keeps Azurite busy for minutes, and it
answers nobody meanwhile.
"""


@dataclass(slots=True)
class Verdict:
    """What all rounds so far have found."""

    seed: int
    what: str
    rounds: int = 0
    findings: Findings = field(default_factory=Findings)

    def take(self, text: str, findings: Findings) -> None:
        """Take in a round and say how it went."""
        self.rounds += 1
        self.findings.add(findings)
        click.echo(f"{self.rounds:5}  {text}")
        for line in findings.lines():
            click.echo(f"       {line}")

    def line(self) -> str:
        """All in one line."""
        found = self.findings
        return (
            f"chaos: {self.rounds} {self.what}, {len(found.lost)} lost, "
            f"{len(found.doubled)} doubled, {len(found.dangling)} dangling, "
            f"{len(found.orphaned)} orphaned, {len(found.misjudged)} misjudged; seed {self.seed}"
        )


@asynccontextmanager
async def _stack() -> AsyncIterator[tuple[Stack, Workspace]]:
    with tempfile.TemporaryDirectory(prefix="rogo-chaos-") as directory:
        data_dir = Path(directory) / "ground"
        data_dir.mkdir(mode=0o700)
        async with Stack(Path(directory) / "stack") as stack:
            yield stack, await stack.new_workspace("ground", data_dir)


async def _kills(verdict: Verdict, kills: int, rows: int) -> None:
    generator = random.Random(verdict.seed)
    fell: Counter[str] = Counter()
    try:
        for begun in range(0, kills, STACK_LASTS):
            async with _stack() as (stack, base):
                ground = await Ground.generated(stack, base, rows, verdict.seed)
                took_s = await undisturbed(ground)
                click.echo(
                    f"an undisturbed run of {rows} rows takes {took_s:.1f} s; seed {verdict.seed}"
                )
                for _ in range(min(STACK_LASTS, kills - begun)):
                    after_s = generator.uniform(0.0, took_s)
                    kill = await killed(ground, after_s)
                    fell[kill.fell] += 1
                    text = f"{after_s:5.2f} s, {kill.submissions:4} submissions, {kill.fell}"
                    verdict.take(text, kill.findings)
    finally:
        click.echo(", ".join(f"{count} {where}" for where, count in sorted(fell.items())))


async def _steps(verdict: Verdict, steps: str) -> None:
    generator = random.Random(verdict.seed)
    async with _stack() as (stack, base):
        ground = await one_submission(stack, base)
        reached = await points(ground)
        chosen = sorted(reached)
        click.echo(f"{len(chosen)} points, reached {sum(reached.values())} times")
        if steps != "all":
            chosen = sorted(generator.sample(chosen, min(int(steps), len(chosen))))
        missed = 0
        for point in chosen:
            nth = generator.randint(1, reached[point])
            died, findings = await killed_at(ground, point, nth)
            missed += not died
            verdict.take(f"{point} ({nth}){'' if died else ' not reached'}", findings)
    click.echo(f"{missed} points were not reached again")


async def _replies(verdict: Verdict, times: int, rows: int) -> None:
    generator = random.Random(verdict.seed)
    async with _stack() as (stack, base):
        ground = await handful(stack, base)
        for kind in Reply:
            if kind is Reply.STANDING:  # nobody asks while nothing else goes wrong
                continue
            losses = Losses(first_of(kind), silent=True)
            async with ground.round() as there:
                findings = await disturbed(there, losses)
                verdict.take(f"{losses.lost.total()} reply to {kind}, silence", findings)
    async with _stack() as (stack, base):
        ground = await Ground.generated(stack, base, rows, verdict.seed)
        for _ in range(times):
            losses = Losses(lambda _: generator.random() < CHANCE)
            async with ground.round() as there:
                findings = await disturbed(there, losses)
                lost = ", ".join(f"{count} of {kind}" for kind, count in losses.lost.items())
                verdict.take(f"{losses.lost.total()} replies at random: {lost}", findings)


async def _weather(verdict: Verdict, rounds: int) -> None:
    async with _stack() as (stack, base):
        await weather(await handful(stack, base), rounds, 25, verdict.take)


@click.command()
@click.option("--kills", type=click.IntRange(1), help="Kill so many runs at random [default: 200].")
@click.option("--steps", help="Kill runs at so many steps of one submission, or at 'all' of them.")
@click.option("--replies", type=click.IntRange(1), help="Lose replies at random in so many runs.")
@click.option("--weather", "rounds", type=click.IntRange(1), help="Mix faults in so many rounds.")
@click.option("--rows", type=click.IntRange(1), default=300, show_default=True)
@click.option("--seed", type=int, help="For the same draws again; drawn if it is not given.")
def main(
    kills: int | None,
    steps: str | None,
    replies: int | None,
    rounds: int | None,
    rows: int,
    seed: int | None,
) -> None:
    """Disturb runs in one way and see that nothing is lost, doubled, dangling or orphaned."""
    seed = random.randrange(1_000_000) if seed is None else seed
    work: Callable[[Verdict], Awaitable[None]]
    if steps is not None:
        what, work = "kills at a step", lambda verdict: _steps(verdict, steps)
    elif replies is not None:
        what, work = "runs with lost replies", lambda verdict: _replies(verdict, replies, rows)
    elif rounds is not None:
        what, work = "rounds of weather", lambda verdict: _weather(verdict, rounds)
    else:
        what, work = "kills", lambda verdict: _kills(verdict, kills or 200, rows)
    verdict = Verdict(seed, what)
    interrupted = False
    # A shell has its background commands ignore it; the verdict so far is worth having.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    async def to_the_end() -> None:
        await work(verdict)

    try:
        asyncio.run(to_the_end())
    except KeyboardInterrupt:
        interrupted = True
    click.echo(verdict.line())
    sys.exit(130 if interrupted else 1 if verdict.findings.lines() else 0)


if __name__ == "__main__":
    main()

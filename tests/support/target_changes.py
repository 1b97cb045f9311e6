"""Changes of the target while a run is between its start and its first insert."""

from collections.abc import Mapping

from rogo_async.demo.servers.scripted_source import Answer
from tests.support.builders import Scenario
from tests.support.cli import CliResult, start_cli


async def run_with_change(
    scenario: Scenario, env: Mapping[str, str], *statements: str, undo_after: str | None = None
) -> CliResult:
    """Run; execute SQL in the target after the start, while the source is not available.

    With ``undo_after`` the last statement is executed only when the log has an event of this name.
    """
    routes = dict(scenario.source.routes)
    scenario.source.routes.update(dict.fromkeys(routes, Answer(status=503)))
    statements, last = (statements[:-1], statements[-1:]) if undo_after else (statements, ())
    async with start_cli(env) as command:
        await command.wait_for_event("migration begins")
        async with scenario.target() as target:
            for sql in statements:
                await target.execute(sql)
            scenario.source.routes.update(routes)
            for sql in last:
                await command.wait_for_event(undo_after or "")
                await target.execute(sql)
        return await command.wait()

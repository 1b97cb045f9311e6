"""Named queries to the target, with a short deadline."""

from typing import Any, Final

from rogo_async.target import Connections

ANSWER_S: Final = 10.0


class Asking:
    """Asks the target. ``connections`` is there once it has been connected to."""

    connections: Connections

    async def rows(self, name: str, **values: object) -> list[Any]:
        """All rows of a named query. Raises a DependencyFault."""
        async with self.connections.session(name) as session:
            return await session.rows(name, values, ANSWER_S)

    async def row(self, name: str, **values: object) -> Any:
        """The first row of a named query that has one. Raises a DependencyFault."""
        return (await self.rows(name, **values))[0]

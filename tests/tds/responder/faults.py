"""What the server does instead of answering, when a test tells it to."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answers with this error, or with ``after_rows`` sends all rows and then the error.

    A login that is refused ends the connection, as do errors of severity 20 and more.
    """

    number: int
    text: str = "refused for a test"
    severity: int = 16
    after_rows: bool = False


@dataclass(frozen=True, slots=True)
class Cut:
    """Sends this share of the answer and closes the connection."""

    share: float = 0.5


@dataclass(frozen=True, slots=True)
class Delay:
    """Answers after this many seconds, unless the client cancels before."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Silence:
    """Never answers, not even a cancellation, and leaves the connection open."""


Fault = Refuse | Cut | Delay | Silence


@dataclass(slots=True)
class Faults:
    """Faults that wait for their moment, the first one first."""

    _waiting: list[tuple[str, Fault, int]] = field(default_factory=list)

    def add(self, moment: str, fault: Fault, times: int) -> None:
        """Let the fault happen at the next ``times`` such moments."""
        self._waiting.append((moment, fault, times))

    def take(self, moment: str) -> Fault | None:
        """The fault of this moment, which is then used up once."""
        for place, (wanted, fault, times) in enumerate(self._waiting):
            if wanted == moment:
                self._waiting[place : place + 1] = [(wanted, fault, times - 1)] * (times > 1)
                return fault
        return None

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def clear(self) -> None:
        self._waiting.clear()

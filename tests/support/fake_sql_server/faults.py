"""What the server does instead of answering, for tests of errors and outages."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answers with this error; with ``after_rows`` it sends all rows before the error.

    A refused login closes the connection, and so does an error of severity 20 or more.
    """

    number: int
    text: str = "refused for a test"
    severity: int = 16
    after_rows: bool = False


@dataclass(frozen=True, slots=True)
class Cut:
    """Sends this share of the answer and closes the connection.

    With ``value`` it sends the answer up to that value, without its last ``short`` bytes.
    """

    share: float = 0.5
    value: bytes = b""
    short: int = 1

    def of(self, answer: bytes) -> bytes:
        if not self.value:
            return answer[: int(len(answer) * self.share)]
        return answer[: answer.index(self.value) + len(self.value) - self.short]


@dataclass(frozen=True, slots=True)
class Delay:
    """Answers after this many seconds, unless the client cancels."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Silence:
    """Keeps the connection open and never answers, not even to a cancellation."""


Fault = Refuse | Cut | Delay | Silence


@dataclass(slots=True)
class _Waiting:
    moment: str
    fault: Fault
    times: int
    after: int


@dataclass(slots=True)
class Faults:
    """Faults that wait for their moment, in order."""

    _waiting: list[_Waiting] = field(default_factory=list)

    def add(self, moment: str, fault: Fault, times: int, after: int) -> None:
        """Skip ``after`` such moments, then apply the fault ``times`` times."""
        self._waiting.append(_Waiting(moment, fault, times, after))

    def take(self, moment: str) -> Fault | None:
        """The fault for this moment, if any; counts as one use."""
        due = next((each for each in self._waiting if each.moment == moment), None)
        if due is None:
            return None
        if due.after:
            due.after -= 1
            return None
        due.times -= 1
        if not due.times:
            self._waiting.remove(due)
        return due.fault

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def clear(self) -> None:
        self._waiting.clear()

"""The command, dead by SIGKILL at one point of its own code: ``kill_at.py POINT NTH ARGS…``.

A point is a place in the package where a function waits or ends, or calls one that is written in
C: whatever reaches a file or a server happens between two of these. The NTH time that it is
reached is the last thing that happens. With the point ``-`` nothing is killed, and the points that
were reached are written to the file that NTH names, with how often each was. Counting starts where
the work on the rows begins; the rules know no input or output and are left out.
"""

import json
import os
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any, Final

import rogo_async
from rogo_async.commands.main import main
from rogo_async.pipeline.consumers import ConsumerPool

PACKAGE: Final = str(Path(rogo_async.__file__).parent) + os.sep
RULES: Final = f"{PACKAGE}rules{os.sep}"
BEGIN: Final = ConsumerPool.run.__code__


class Walker:
    """Counts the points and kills at one of them. Threads have their share of the work."""

    def __init__(self, point: str, nth: int) -> None:
        self.reached: Counter[str] = Counter()
        self._point = point
        self._left = nth
        self._begun = False

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event not in {"return", "c_call"} or not code.co_filename.startswith(PACKAGE):
            return
        self._begun = self._begun or code is BEGIN
        if not self._begun or code.co_filename.startswith(RULES):
            return
        what = event if event == "return" else f"{event} {argument.__name__}"
        module = code.co_filename.removeprefix(PACKAGE)
        point = f"{module}:{code.co_qualname}:{frame.f_lineno}:{what}"
        self.reached[point] += 1
        if point == self._point:
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)


def run() -> None:
    """Run the command under the walker."""
    point, nth, *arguments = sys.argv[1:]
    measuring = point == "-"
    walker = Walker(point, 0 if measuring else int(nth))
    if measuring:
        leave = os._exit

        def write_and_leave(code: int) -> None:
            sys.setprofile(None)
            Path(nth).write_text(json.dumps(walker.reached), encoding="utf-8")
            leave(code)

        os._exit = write_and_leave  # type: ignore[assignment]
    sys.argv = ["rogo_async", *arguments]
    threading.setprofile(walker)
    sys.setprofile(walker)
    main()


if __name__ == "__main__":
    run()

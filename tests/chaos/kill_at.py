"""Runs the command and kills it with SIGKILL at one point: ``kill_at.py POINT NTH ARGS…``.

A point is a line of the package where a function waits, returns or calls C code: all input and
output happens between two of these. The process is killed when the point is reached for the NTH
time. With the point ``-`` nothing is killed, and NTH names a file that receives all points with
their counts. Counting starts when the work on the rows begins; the rules do no input or output and
are left out.
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


class CallCounter:
    """Counts the points and kills at one of them; installed in all threads."""

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
    """Run the command under the counter."""
    point, nth, *arguments = sys.argv[1:]
    measuring = point == "-"
    counter = CallCounter(point, 0 if measuring else int(nth))
    if measuring:
        leave = os._exit

        def write_and_leave(code: int) -> None:
            sys.setprofile(None)
            Path(nth).write_text(json.dumps(counter.reached), encoding="utf-8")
            leave(code)

        os._exit = write_and_leave  # type: ignore[assignment]
    sys.argv = ["rogo_async", *arguments]
    threading.setprofile(counter)
    sys.setprofile(counter)
    main()


if __name__ == "__main__":
    run()

"""``python -m rogo_async.distributed.child PARENT …``: the command line, as a child of a worker.

The kernel kills it when the thread that started it ends, thus also when the worker is killed. That
thread is the one that waits for it. Elsewhere than on Linux a killed worker leaves it running.
"""

import ctypes
import os
import runpy
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    """Run the command line, with the process ``PARENT`` as the parent or not at all."""
    parent = int(sys.argv.pop(1))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)  # a worker may ignore them
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # one that came since its start ends it now
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel knew what to do then
        os.kill(os.getpid(), signal.SIGKILL)
    runpy.run_module("rogo_async", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

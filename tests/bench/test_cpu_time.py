"""CPU time is measured correctly for a process whose CPU time is known."""

import os
import subprocess
import sys
import time

from tests.bench.cpu_time import Meters, cpu_seconds

_BURN = "import time\nwhile time.process_time() < 0.3: pass\n"


def test_the_cpu_time_of_living_and_of_reaped_children_counts() -> None:
    before = cpu_seconds(os.getpid())
    subprocess.run([sys.executable, "-c", _BURN], check=True)
    reaped = cpu_seconds(os.getpid()) - before
    assert 0.25 < reaped < 2.0
    with subprocess.Popen(
        [sys.executable, "-c", f"{_BURN}input()"], stdin=subprocess.PIPE
    ) as living:
        deadline = time.monotonic() + 5
        while cpu_seconds(living.pid) < 0.29 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert cpu_seconds(os.getpid()) - before - reaped > 0.25
        living.kill()


def test_cores_are_cpu_seconds_by_seconds() -> None:
    meters = Meters([(10.0, {"a": 1.0}), (20.0, {"a": 3.0}), (30.0, {"a": 9.0})])
    assert meters.cores(19.0, 31.0) == {"a": 0.6}
    assert meters.all_used() == {"a": 8.0}

"""The plan of ``scripts/chaos --distributed``; its rounds are too long for the suite."""

from collections import Counter

import pytest

from tests.chaos.distributed_rounds import Fault, planned

KILLED = {Fault.WORKER_KILLED: 30, Fault.SCHEDULER_KILLED: 5, Fault.COMMAND_KILLED: 5}


@pytest.mark.parametrize("seed", [0, 3])
def test_thirty_kills_come_with_each_way_to_freeze_a_worker(seed: int) -> None:
    assert Counter(planned(30, seed)) == dict.fromkeys(Fault, 1) | KILLED

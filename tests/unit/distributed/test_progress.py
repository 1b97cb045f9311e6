"""The progress of several shards as one (specification §7)."""

from rogo_async.distributed.progress import ShardsProgress


def counts(total: int, done: int, left: int) -> dict[str, object]:
    return {
        "total": total,
        "done": done,
        "migrated": done - 1,
        "failed": 1,
        "skipped": 0,
        "left": left,
        "rate_per_s": 2.5,
    }


def test_shards_are_added_up() -> None:
    progress = ShardsProgress("run", 100, 4)
    progress.sample(0.0)
    progress.began(0, "b")
    progress.reported(0, "b", counts(30, 10, 20))
    progress.reported(1, "a", counts(20, 4, 6))
    progress.ended(2, counts(20, 20, 0))
    progress.reported(2, "a", counts(20, 3, 17))  # an event that arrives after the result
    progress.began(3, "c")
    lines = progress.lines(17.0)
    assert progress.facts() == {
        "done": 34,
        "total": 100,
        "migrated": 31,
        "failed": 3,
        "skipped": 0,
        "left": 56,  # of shard 3 all 30 rows
        "rate_per_s": 2.0,
        "eta_s": 28,
        "shards": 4,
        "shards_ended": 1,
        "shards_running": 3,
    }
    assert lines[0].startswith("migrating 34.0 %  34 of 100  2.0/s  ")
    assert lines[0].endswith("  0:00:28 left")
    assert lines[1:] == [
        "migrated 31  failed 3  skipped 0  1 of 4 shards done",
        "  worker a: shard 1/4  20.0 %  2.5/s",
        "  worker b: shard 0/4  33.3 %  2.5/s",
        "  worker c: shard 3/4  begins  0.0/s",
    ]
    assert progress.state() == {"run_id": "run", **progress.facts(), "waiting_for": []}


def test_a_shard_that_begins_again_counts_from_zero() -> None:
    progress = ShardsProgress("run", 10, 1)
    progress.reported(0, "a", counts(10, 6, 4))
    progress.began(0, "b")
    assert (progress.facts()["done"], progress.facts()["left"]) == (0, 10)
    progress.ended(0, None)
    progress.began(0, "b")  # an event that arrives after the result
    assert (progress.facts()["shards_ended"], progress.facts()["shards_running"]) == (1, 0)

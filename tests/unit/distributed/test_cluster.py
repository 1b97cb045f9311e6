"""Which addresses may carry failed rows (specification §7)."""

import pytest

from rogo_async.distributed.cluster import is_private


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("tls://10.0.0.5:8786", True),
        ("tcp://127.0.0.1:8786", True),
        ("tcp://127.0.1.1:8786", True),
        ("tcp://[::1]:8786", True),
        ("tcp://10.0.0.5:8786", False),
        ("tcp://localhost:8786", False),
        ("ws://10.0.0.5:8786", False),
    ],
)
def test_results_pass_through_private_addresses_only(address: str, *, expected: bool) -> None:
    assert is_private(address) is expected

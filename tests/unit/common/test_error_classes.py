"""Classes of HTTP answers, and Retry-After."""

from datetime import UTC, datetime

import pytest

from rogo_async.common.error_classes import (
    ErrorClass,
    code_of,
    is_access_refused,
    of_http,
    seconds_of,
)

NOW = datetime(2026, 11, 26, 8, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "status", [408, 425, 429, 500, 502, 503, 504, 506, 507, 508, 509, 511, 520, 522, 524, 530, 599]
)
def test_an_unknown_5xx_is_transient(status: int) -> None:
    assert of_http(status) is ErrorClass.TRANSIENT


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 412, 418, 451, 501, 505])
def test_other_statuses_are_not(status: int) -> None:
    assert of_http(status) is ErrorClass.SYSTEMIC


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0.0),
        ("", 0.0),
        ("30", 30.0),
        ("0", 0.0),
        ("-5", 0.0),
        ("1.5", 0.0),
        ("soon", 0.0),
        ("٣", 0.0),
        ("Thu, 26 Nov 2026 08:00:30 GMT", 30.0),
        ("Thursday, 26-Nov-26 08:00:30 GMT", 30.0),
        ("Thu Nov 26 08:00:30 2026", 30.0),
        ("Thu, 26 Nov 2026 10:00:30 +0200", 30.0),
        ("Thu, 26 Nov 2026 07:00:00 GMT", 0.0),
        ("1 Jan 99999999999999999999 00:00:00 GMT", 0.0),
        ("Thu, 26 Nov 2026 08:00:00 +9999999999999", 0.0),
        ("Thu, 99 Nov 2026 07:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 251_622_863_999.0),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str | None, seconds: float) -> None:
    assert seconds_of(header, NOW) == pytest.approx(seconds, rel=0.01)


@pytest.mark.parametrize(
    ("status", "code", "refused"),
    [
        (401, None, True),
        (403, "AuthorizationFailure", True),
        (409, "PublicAccessNotPermitted", True),
        (404, "ResourceNotFound", True),
        (400, "InvalidQueryParameterValue", True),
        (409, "BlobArchived", False),
        (409, None, False),
        (404, "BlobNotFound", False),
        (404, None, False),
        (400, None, False),
        (200, "ResourceNotFound", False),
    ],
)
def test_access_is_refused_by_status_or_by_the_code_of_azure(
    status: int, code: str | None, *, refused: bool
) -> None:
    assert is_access_refused(status, code) is refused


@pytest.mark.parametrize(
    ("header", "code"),
    [("BlobArchived", "BlobArchived"), ("a b", None), ("", None), ("x" * 65, None), ("é", None)],
)
def test_only_a_name_is_taken_for_the_code_of_azure(header: str, code: str | None) -> None:
    assert code_of({"x-ms-error-code": header}) == code

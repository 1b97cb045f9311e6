"""Signed requests: equal to those of the Azure SDK, and valid for one request only."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
from azure.core.pipeline import PipelineRequest
from azure.core.pipeline.transport import HttpRequest
from azure.storage.blob._shared.authentication import SharedKeyCredentialPolicy
from yarl import URL

from rogo_async.destination.blobs import shared_key
from rogo_async.destination.blobs.shared_key import SharedKey
from tests.support.string_to_sign import shared_key_header, string_to_sign

ACCOUNT, KEY = "marking", "c2VjcmV0IG9mIG5vIGFjY291bnQ="
PUT = {
    "x-ms-version": "2021-12-02",
    "x-ms-blob-type": "BlockBlob",
    "Content-Type": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg==",
    "x-ms-blob-content-md5": "1B2M2Y8AsgTpgAmY7PhCfg==",
    "x-ms-meta-attemptId": "200001",
    "x-ms-meta-migratedFrom": "rogo_warehouse",
    "x-ms-meta-runId": "20260131T011500Z-0123abcd",
    "x-ms-meta-target": "0f0f",
    "x-ms-meta-fileType": "marker_feedback",
}

COPY = {
    "x-ms-version": "2021-12-02",
    "x-ms-blob-type": "BlockBlob",
    "x-ms-blob-content-type": "text/plain",
    "x-ms-blob-content-md5": "1B2M2Y8AsgTpgAmY7PhCfg==",
    "x-ms-copy-source": "https://old.blob.core.windows.net/files/a%20b.txt?sv=1&sig=x%3D",
    "x-ms-copy-source-authorization": "Bearer eyJ",
    "x-ms-copy-source-blob-properties": "false",
    "x-ms-meta-attemptId": "200001",
    "x-ms-source-if-match": '"0x8DC"',
    "x-ms-source-content-md5": "1B2M2Y8AsgTpgAmY7PhCfg==",
    "If-None-Match": "*",
}


@pytest.mark.parametrize(
    ("method", "path", "headers", "body_bytes"),
    [
        ("PUT", "/migrated/LTI_Uploads/rogo_1/0f0f/1_answer.docx", PUT, 50_000),
        ("PUT", "/migrated/LTI_Uploads/rogo_1/0f0f/1_empty.docx", PUT, 0),
        ("PUT", "/migrated/LTI_Uploads/rogo_1/0f0f/1_copied.docx", COPY, 0),
        ("PUT", "/devstoreaccount1/migrated/Marker_files/rogo_1/0f0f/2_a-b.docx", PUT, 1),
        ("GET", "/migrated/LTI_Uploads/a%20b%C3%A9%2Bc.docx", {"x-ms-version": "2021-12-02"}, 0),
        ("HEAD", "/migrated/x", {"x-ms-version": "2021-12-02", "Range": "bytes=5-"}, 0),
    ],
)
def test_a_signature_equals_that_of_the_azure_sdk(
    method: str, path: str, headers: dict[str, str], body_bytes: int
) -> None:
    signed = SharedKey(ACCOUNT, KEY).signed(method, path, headers, body_bytes)

    sent = {name: value for name, value in signed.items() if name != "Authorization"}
    if method == "PUT":
        sent["Content-Length"] = str(body_bytes)
    if "Range" in sent:
        sent["byte_range"] = sent["Range"]  # what the library calls it where it signs
    theirs = HttpRequest(method, f"https://{ACCOUNT}.blob.core.windows.net{path}", headers=sent)
    context: Any = type("Context", (dict,), {"transport": None})()
    policy: Any = SharedKeyCredentialPolicy
    policy(ACCOUNT, KEY).on_request(PipelineRequest(theirs, context))
    assert signed["Authorization"] == theirs.headers["Authorization"]


def test_a_signature_is_valid_for_one_request_only() -> None:
    key = SharedKey(ACCOUNT, KEY)
    base = key.signed("PUT", "/c/a", PUT, 10)
    date = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT")
    assert date.fullmatch(base["x-ms-date"])
    seen = {base["Authorization"]}
    for other in (
        key.signed("GET", "/c/a", PUT, 10),
        key.signed("PUT", "/c/b", PUT, 10),
        key.signed("PUT", "/c/a", PUT, 11),
        key.signed("PUT", "/c/a", {**PUT, "x-ms-meta-target": "1f0f"}, 10),
        key.signed("PUT", "/c/a", {**PUT, "Content-MD5": "AAAA"}, 10),
    ):
        seen.add(other["Authorization"])
    assert len(seen) == 6
    assert not any(KEY in text for text in seen)


def test_the_date_of_a_signature_moves_with_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service refuses a date that is older than 15 minutes."""
    now_s = 1_769_822_100.9
    monkeypatch.setattr(shared_key, "time", SimpleNamespace(time=lambda: now_s))
    key = SharedKey(ACCOUNT, KEY)
    assert key.signed("GET", "/c/a", {}, 0)["x-ms-date"] == "Sat, 31 Jan 2026 01:15:00 GMT"
    now_s += 1_000.0
    assert key.signed("GET", "/c/a", {}, 0)["x-ms-date"] == "Sat, 31 Jan 2026 01:31:40 GMT"


def test_a_signature_of_a_copy_is_that_of_the_documentation() -> None:
    """All headers that decide what is copied are signed."""
    path = "/migrated/LTI_Uploads/rogo_1/0f0f/1_a.txt"
    signed = SharedKey(ACCOUNT, KEY).signed("PUT", path, COPY, 0)
    documented = f"""\
PUT








*


x-ms-blob-content-md5:1B2M2Y8AsgTpgAmY7PhCfg==
x-ms-blob-content-type:text/plain
x-ms-blob-type:BlockBlob
x-ms-copy-source:https://old.blob.core.windows.net/files/a%20b.txt?sv=1&sig=x%3D
x-ms-copy-source-authorization:Bearer eyJ
x-ms-copy-source-blob-properties:false
x-ms-date:{signed["x-ms-date"]}
x-ms-meta-attemptid:200001
x-ms-source-content-md5:1B2M2Y8AsgTpgAmY7PhCfg==
x-ms-source-if-match:"0x8DC"
x-ms-version:2021-12-02
/{ACCOUNT}{path}"""
    url = URL(f"https://{ACCOUNT}.blob.core.windows.net{path}", encoded=True)
    assert string_to_sign("PUT", url, signed, ACCOUNT) == documented
    assert signed["Authorization"] == shared_key_header(documented, ACCOUNT, KEY)


@pytest.mark.parametrize("key", ["not a key!", "c2Vj cmV0", KEY[:-1]])
def test_a_key_that_is_not_base64_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r"[Bb]ase64|characters|padding"):
        SharedKey(ACCOUNT, key)

"""The endpoint of the destination account, and how each kind of credentials authorizes."""

import pytest
from azure.core.credentials import AccessToken

from rogo_async.common.errors import SetupError, TransientError
from rogo_async.destination.blobs.credentials import (
    Destination,
    IdentityCredentials,
    KeyCredentials,
    SasCredentials,
)
from tests.support.identity_endpoint import IdentityEndpoint
from tests.support.scripted_store import ACCOUNT, KEY, settings

AZURE = "https://marking.blob.core.windows.net"
BLOB = f"{AZURE}/migrated/a%20%28b%29.txt"
VERSION = {"x-ms-version": "2021-12-02"}
WITH_KEY = f"AccountName=marking;AccountKey={KEY}"
NOT_BASE64 = (
    "the storage account's key is not base64. Copy it again into AZURE_STORAGE_ACCOUNT_KEY or "
    "AZURE_STORAGE_CONNECTION_STRING"
)
NEITHER = "AZURE_STORAGE_CONNECTION_STRING: has neither AccountKey nor SharedAccessSignature"
INVALID = (
    "AZURE_STORAGE_CONNECTION_STRING: is not a storage account's connection string "
    "(AccountName=…;AccountKey=…;…)"
)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (WITH_KEY, AZURE),
        (
            f"DefaultEndpointsProtocol=https;{WITH_KEY};EndpointSuffix=core.windows.net",
            AZURE,
        ),
        (
            f"DefaultEndpointsProtocol=http;{WITH_KEY};EndpointSuffix=core.chinacloudapi.cn",
            "http://marking.blob.core.chinacloudapi.cn",
        ),
        (
            f"BlobEndpoint=https://files.example/;{WITH_KEY};",
            "https://files.example",
        ),
        (f"BlobEndpoint=https://files.example/BOX/;{WITH_KEY}", "https://files.example/BOX"),
        (f" accountname = marking ;; ACCOUNTKEY = {KEY} ; ", AZURE),
    ],
)
def test_a_connection_string_with_a_key(text: str, url: str) -> None:
    found = Destination.of(settings(azure_storage_connection_string=text))
    assert found.service_url == url
    assert isinstance(found.credentials, KeyCredentials)
    assert found.credentials.for_sdk == {"account_name": ACCOUNT, "account_key": KEY}


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("BlobEndpoint=https://files.example/;SharedAccessSignature=sv=1&sig=2%2F3%3D", None),
        ("BlobEndpoint=https://files.example/;SharedAccessSignature=?sv=1&sig=2%2F3%3D", None),
        ("BlobEndpoint=https://files.example/?a=?b;SharedAccessSignature=sv=1&sig=2%2F3%3D", None),
        ("AccountName=marking;AccountKey=;SharedAccessSignature=sv=1&sig=2%2F3%3D", AZURE),
    ],
)
def test_a_connection_string_with_a_sas(text: str, url: str | None) -> None:
    found = Destination.of(settings(azure_storage_connection_string=text))
    assert found.service_url == (url or "https://files.example")
    assert isinstance(found.credentials, SasCredentials)
    assert found.credentials.for_sdk == "sv=1&sig=2%2F3%3D"


def test_the_endpoint_replaces_that_of_the_connection_string() -> None:
    text = f"BlobEndpoint=https://files.example/;{WITH_KEY}"
    found = Destination.of(
        settings(
            azure_storage_connection_string=text,
            azure_storage_service_endpoint="https://other.example/",
        )
    )
    assert found.service_url == "https://other.example"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"AccountKey={KEY}", INVALID),
        (f"{WITH_KEY};nonsense", INVALID),
        ("AccountName=marking;AccountKey=", NEITHER),
        (f"BlobEndpoint=https://files.example;AccountKey={KEY}", NEITHER),
        ("AccountName=marking;AccountKey=not a key", NOT_BASE64),
    ],
)
def test_an_invalid_connection_string_is_refused(text: str, problem: str) -> None:
    with pytest.raises(SetupError) as found:
        Destination.of(settings(azure_storage_connection_string=text))
    assert found.value.problems == (problem,)


@pytest.mark.parametrize(
    ("endpoint", "url"), [(None, AZURE), ("https://files.example/", "https://files.example")]
)
def test_an_account_name_with_a_key(endpoint: str | None, url: str) -> None:
    found = Destination.of(
        settings(
            azure_storage_account_name=ACCOUNT,
            azure_storage_account_key=KEY,
            azure_storage_service_endpoint=endpoint,
        )
    )
    assert found.service_url == url
    assert isinstance(found.credentials, KeyCredentials)
    assert found.credentials.for_sdk == {"account_name": ACCOUNT, "account_key": KEY}


async def test_an_account_name_alone_means_an_identity() -> None:
    found = Destination.of(settings(azure_storage_account_name=ACCOUNT))
    assert found.service_url == AZURE
    assert isinstance(found.credentials, IdentityCredentials)


def test_an_identity_is_not_sent_over_http() -> None:
    made = settings(
        azure_storage_account_name=ACCOUNT, azure_storage_service_endpoint="http://localhost:1/a"
    )
    with pytest.raises(SetupError) as found:
        Destination.of(made)
    (problem,) = found.value.problems
    assert problem == (
        "AZURE_STORAGE_SERVICE_ENDPOINT: an identity needs https. Use an https endpoint, or set "
        "AZURE_STORAGE_ACCOUNT_KEY"
    )


async def test_a_key_signs_and_cannot_be_renewed() -> None:
    key = KeyCredentials(ACCOUNT, KEY)
    url, headers = await key.authorize("GET", BLOB, VERSION, 0)
    assert str(url) == BLOB
    assert set(headers) == {"x-ms-version", "x-ms-date", "Authorization"}
    assert headers["Authorization"].startswith("SharedKey marking:")
    assert key.current() == ""
    assert not key.renew(headers["Authorization"])


async def test_a_sas_is_part_of_the_url() -> None:
    sas = SasCredentials("?sv=1&sig=2%2F3%3D")
    url, headers = await sas.authorize("GET", BLOB, VERSION, 0)
    assert str(url) == f"{BLOB}?sv=1&sig=2%2F3%3D"
    assert headers == VERSION
    assert sas.current() == ""
    assert not sas.renew("")


async def test_an_identity_sends_its_token_in_a_header(
    identity: IdentityEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_CLIENT_ID", "client-1")
    credentials = IdentityCredentials(settings(azure_storage_account_name=ACCOUNT))
    assert credentials.for_sdk is credentials
    assert credentials.current() == ""
    url, headers = await credentials.authorize("GET", BLOB, VERSION, 0)
    assert str(url) == BLOB
    assert headers == {**VERSION, "Authorization": credentials.current()}
    kind, token = headers["Authorization"].split(" ")
    assert kind == "Bearer"
    # It counts as expired, so that the SDK asks again before each request.
    assert await credentials.get_token("any scope") == AccessToken(token, 0)
    (request,) = identity.requests
    assert request["resource"] == "https://storage.azure.com"
    assert request["client_id"] == "client-1"


async def test_a_refused_token_is_replaced(identity: IdentityEndpoint) -> None:
    credentials = IdentityCredentials(settings(azure_storage_account_name=ACCOUNT))
    await credentials.authorize("GET", BLOB, VERSION, 0)
    refused = credentials.current()
    assert credentials.renew(refused)
    new = await credentials.get_token("any scope")
    assert credentials.current() == f"Bearer {new.token}" != refused
    assert credentials.renew(refused)  # for another request, which was refused later
    assert await credentials.get_token("any scope") == new
    assert identity.issued == 2


async def test_a_missing_token_is_an_error_of_the_store(identity: IdentityEndpoint) -> None:
    identity.status = 503
    credentials = IdentityCredentials(settings(azure_storage_account_name=ACCOUNT))
    with pytest.raises(TransientError) as found:
        await credentials.get_token("any scope")
    assert str(found.value) == "store token: no token for the managed identity (status 503)"

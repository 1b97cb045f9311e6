"""TLS to the target: every sslmode, certificates of both sides, and what a message says."""

import contextlib
import os
import pwd
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from rogo_async.common.database_url import SSL_MODES, DatabaseUrl
from rogo_async.common.errors import Dependency, DependencyError, SetupError, TransientError
from rogo_async.destination.postgres.connections import Connections
from rogo_async.destination.postgres.connector import ConnectOptions
from tests.integration.target.conftest import TlsSite
from tests.support.builders import Scenario
from tests.support.certificates import Certificate
from tests.support.cli import run_cli

REFUSED: Final = ("the server does not offer TLS", "sslmode=disable")
UNTRUSTED: Final = ("the server's certificate is not trusted", "Set sslrootcert in DATABASE_URL")
OTHER_NAME: Final = ("for another name than the host in DATABASE_URL", "sslmode=verify-ca")
ENCRYPTED: Final = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


async def is_encrypted(url: str) -> bool:
    """Connect as a run does. Raises SetupError and DependencyErrors."""
    connections = await Connections.open(ConnectOptions.of(DatabaseUrl.parse(url)), 1)
    try:
        async with connections.session("test") as session:
            return bool(await session.raw.fetchval(ENCRYPTED))
    finally:
        await connections.aclose()


async def assert_refused(url: str, *says: str) -> None:
    """Connecting fails for good, with this message.

    A command repeats a connection that was cut, and so does this: when a server closes a TLS 1.3
    connection because of the client's certificate, its reason may be lost with the connection.
    """
    error: Exception = TransientError(Dependency.TARGET, "connect", "not tried")
    while isinstance(error, TransientError):
        with pytest.raises((SetupError, DependencyError)) as caught:
            await is_encrypted(url)
        error = caught.value
    assert all(text in str(error) for text in says), str(error)


@pytest.mark.parametrize("mode", SSL_MODES)
async def test_a_server_without_tls(tls: TlsSite, mode: str) -> None:
    await tls.postgres.configure(ssl="off")
    url = tls.url(f"?sslmode={mode}&sslrootcert={tls.authority.certificate}")
    if mode in {"disable", "allow", "prefer"}:
        assert not await is_encrypted(url)
    else:
        await assert_refused(url, *REFUSED)


@pytest.mark.parametrize(
    ("mode", "trusted", "untrusted", "other_name"),
    [
        ("disable", False, False, False),
        ("allow", False, False, False),
        ("prefer", True, True, True),
        ("require", True, UNTRUSTED, True),
        ("verify-ca", True, UNTRUSTED, True),
        ("verify-full", True, UNTRUSTED, OTHER_NAME),
    ],
)
async def test_each_sslmode_with_a_file_of_authorities(
    tls: TlsSite,
    mode: str,
    *,
    trusted: bool,
    untrusted: bool | tuple[str, ...],
    other_name: bool | tuple[str, ...],
) -> None:
    good = f"?sslmode={mode}&sslrootcert={tls.authority.certificate}"
    bad = f"?sslmode={mode}&sslrootcert={tls.other_authority.certificate}"
    for url, expected in (
        (tls.url(good), trusted),
        (tls.url(bad), untrusted),
        (tls.url(good, host="127.0.0.1"), other_name),
    ):
        if isinstance(expected, bool):
            assert await is_encrypted(url) is expected, url
        else:
            await assert_refused(url, *expected)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ("?sslmode=verify-full", UNTRUSTED),
        ("?sslmode=verify-ca", UNTRUSTED),
        ("?sslrootcert=system", UNTRUSTED),
    ],
)
async def test_without_a_file_of_authorities_those_of_the_system_count(
    tls: TlsSite, parameters: str, says: tuple[str, ...]
) -> None:
    await assert_refused(tls.url(parameters), *says)


async def test_require_without_a_file_of_authorities_encrypts_only(tls: TlsSite) -> None:
    assert await is_encrypted(tls.url("?sslmode=require", host="127.0.0.1"))


async def test_a_local_target_without_an_sslmode_is_encrypted_if_possible(tls: TlsSite) -> None:
    assert await is_encrypted(tls.url())


async def test_an_expired_certificate(tls: TlsSite) -> None:
    expired = tls.authority.server("localhost", expired=True)
    await tls.postgres.use_certificate(expired, tls.authority)
    root = f"sslrootcert={tls.authority.certificate}"
    for mode in ("verify-ca", "verify-full"):
        await assert_refused(tls.url(f"?sslmode={mode}&{root}"), "has expired. Renew it")
    assert await is_encrypted(tls.url("?sslmode=require"))


async def test_a_revoked_certificate(tls: TlsSite) -> None:
    server = tls.authority.server("localhost")
    await tls.postgres.use_certificate(server, tls.authority)
    root = f"?sslrootcert={tls.authority.certificate}&sslcrl="
    await assert_refused(tls.url(f"{root}{tls.authority.revocation_list(server)}"), "revoked")
    assert await is_encrypted(tls.url(f"{root}{tls.authority.revocation_list()}"))
    foreign = tls.other_authority.revocation_list()
    await assert_refused(tls.url(f"{root}{foreign}"), "sslcrl has no list of its authority")


def _own(certificate: Certificate) -> str:
    return f"&sslcert={certificate.certificate}&sslkey={certificate.key}"


CLIENTS: Final[list[tuple[str, Callable[[TlsSite], str], tuple[str, ...]]]] = [
    ("good", lambda tls: _own(tls.authority.client("rogo_writer")), ()),
    ("missing", lambda _: "", ("login failed", "sslcert and sslkey")),
    ("another user", lambda tls: _own(tls.authority.client("other")), ("login failed", "sslcert")),
    (
        "unknown authority",
        lambda tls: _own(tls.other_authority.client("rogo_writer")),
        ("the server rejects this client's certificate", "Set sslcert and sslkey"),
    ),
    (
        "expired",
        lambda tls: _own(tls.authority.client("rogo_writer", expired=True)),
        ("the server rejects this client's certificate", "EXPIRED"),
    ),
    (
        "not used",
        lambda tls: _own(tls.authority.client("rogo_writer")) + "&sslcertmode=disable",
        ("login failed", "sslcert and sslkey"),
    ),
]


@pytest.mark.parametrize(
    ("client", "says"), [each[1:] for each in CLIENTS], ids=[c[0] for c in CLIENTS]
)
async def test_the_certificate_of_the_client(
    tls: TlsSite, client: Callable[[TlsSite], str], says: tuple[str, ...]
) -> None:
    await tls.postgres.allow("hostssl all rogo_writer all cert")
    url = tls.url(f"?sslrootcert={tls.authority.certificate}{client(tls)}")
    if says:
        await assert_refused(url, *says)
    else:
        assert await is_encrypted(url)


async def test_files_that_do_not_fit_are_named(tls: TlsSite, tmp_path: Path) -> None:
    one, other = tls.authority.client("rogo_writer"), tls.authority.client("rogo_writer")
    text = tmp_path / "text.pem"
    text.write_text("no certificate", encoding="utf-8")
    root = f"?sslrootcert={tls.authority.certificate}"
    for parameters, says in (
        (f"{root}&sslcert={one.certificate}&sslkey={other.key}", "sslkey does not belong"),
        (f"{root}&sslcert={text}&sslkey={one.key}", "sslcert cannot be used: its file is not in"),
        (f"{root}&sslcert={one.certificate}&sslkey={text}", "sslcert cannot be used"),
        (f"?sslrootcert={text}", "sslrootcert cannot be used: its file is not in PEM format"),
        (f"?sslrootcert={tmp_path / 'none'}", "sslrootcert: cannot read its file (No such file"),
        (f"{root}&sslcrl={text}", "sslcrl cannot be used"),
        (f"{root}&ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2", "TLS"),
    ):
        await assert_refused(tls.url(parameters), says)


async def test_the_lowest_version_of_tls_is_honoured(tls: TlsSite) -> None:
    await tls.postgres.configure(ssl_max_protocol_version="TLSv1.2")
    try:
        root = f"?sslrootcert={tls.authority.certificate}"
        await assert_refused(tls.url(f"{root}&ssl_min_protocol_version=TLSv1.3"), "versions of TLS")
        assert await is_encrypted(tls.url(root))
    finally:
        await tls.postgres.configure(ssl_max_protocol_version="")


async def test_a_server_that_demands_tls_gets_it_with_allow(tls: TlsSite) -> None:
    await tls.postgres.allow("hostnossl all all all reject")
    assert await is_encrypted(tls.url("?sslmode=allow"))
    await assert_refused(tls.url("?sslmode=disable"), "login failed", "sslmode")


async def test_a_server_that_forbids_tls_is_used_without_it_with_prefer(tls: TlsSite) -> None:
    await tls.postgres.allow("hostssl all all all reject")
    assert not await is_encrypted(tls.url("?sslmode=prefer"))
    await assert_refused(tls.url("?sslmode=require"), "login failed", "sslmode")


async def test_commands_with_a_verified_target(tls: TlsSite, tmp_path: Path) -> None:
    """They work, or say what is wrong with the certificate."""
    workspace = await tls.stack.new_workspace(uuid.uuid4().hex[:12], tmp_path / "data")
    scenario = Scenario(tls.stack, workspace)
    scenario.data_dir.mkdir(exist_ok=True)
    await scenario.load([scenario.submission(attempt) for attempt in range(1, 4)])
    env = tls.stack.environment_of(workspace)
    local = env["DATABASE_URL"]
    named = local.replace(tls.postgres.host, "localhost")
    root = f"?sslmode=verify-full&sslrootcert={tls.authority.certificate}"
    good = {**env, "DATABASE_URL": f"{named}{root}"}
    for command in ("run", "verify", "sweep", "status"):
        result = await run_cli(good, command)
        assert result.code == 0, result.output
    assert await scenario.attempts() == [1, 2, 3]
    assert "encrypted with TLSv1" in (await run_cli(good, "check")).output
    for url, says in ((f"{named}?sslmode=verify-full", UNTRUSTED), (f"{local}{root}", OTHER_NAME)):
        for command in ("check", "run", "plan", "verify", "sweep", "status"):
            result = await run_cli({**env, "DATABASE_URL": url}, command)
            assert result.code == (1 if command == "check" else 2), result.output
            assert all(text in result.output for text in says), result.output
    await tls.stack.remove_workspace(workspace)


# Files in HOME that nobody asked for.


@contextlib.contextmanager
def home(path: Path, monkeypatch: pytest.MonkeyPatch, *, readable: bool) -> Iterator[None]:
    """HOME is this directory; if it is not readable, it belongs to another user."""
    monkeypatch.setenv("HOME", str(path))
    is_root = os.geteuid() == 0
    path.chmod(0o755 if readable else 0o700 if is_root else 0)
    if is_root and not readable:
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        path.chmod(0o755)


@pytest.mark.parametrize("mode", SSL_MODES)
async def test_files_of_a_foreign_home_are_not_used(
    tls: TlsSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    directory = tmp_path / "home" / ".postgresql"
    directory.mkdir(parents=True)
    for name in ("root.crt", "root.crl", "postgresql.crt", "postgresql.key"):
        (directory / name).write_text("of another user", encoding="utf-8")
    (tmp_path / "home" / ".pgpass").write_text("of another user", encoding="utf-8")
    with home(tmp_path / "home", monkeypatch, readable=False):
        if mode in {"verify-ca", "verify-full"}:
            await assert_refused(tls.url(f"?sslmode={mode}"), *UNTRUSTED)
        else:
            encrypted = await is_encrypted(tls.url(f"?sslmode={mode}"))
            assert encrypted is (mode in {"prefer", "require"})


async def test_files_of_the_own_home_are_used(
    tls: TlsSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tls.postgres.allow("hostssl all rogo_writer all cert")
    directory = tmp_path / "home" / ".postgresql"
    directory.mkdir(parents=True)
    client = tls.authority.client("rogo_writer")
    (directory / "root.crt").write_bytes(tls.authority.certificate.read_bytes())
    (directory / "postgresql.crt").write_bytes(client.certificate.read_bytes())
    (directory / "postgresql.key").write_bytes(client.key.read_bytes())
    with home(tmp_path / "home", monkeypatch, readable=True):
        for mode in ("require", "verify-ca", "verify-full"):
            assert await is_encrypted(tls.url(f"?sslmode={mode}"))
        (directory / "root.crt").write_text("no certificate", encoding="utf-8")
        await assert_refused(tls.url("?sslmode=require"), "~/.postgresql/root.crt cannot be used")


async def test_libpq_variables_are_used(tls: TlsSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLROOTCERT", str(tls.authority.certificate))
    monkeypatch.setenv("PGSSLMODE", "disable")
    assert await is_encrypted(tls.url("?sslmode=verify-full"))
    assert not await is_encrypted(tls.url())
    monkeypatch.setenv("PGSSLMODE", "nonsense")
    await assert_refused(tls.url(), "PGSSLMODE: must be one of")

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rogo_async.common.database_url import DatabaseUrl, Host

SECRET = "canary-secret"


def hosts(text: str) -> list[tuple[str, int | None]]:
    return [(host.name, host.port) for host in DatabaseUrl.parse(text).hosts]


def problem(text: str) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        DatabaseUrl.parse(text)
    assert SECRET not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://u:p@db.example/x", [("db.example", None)]),
        ("postgres://u:p@db.example:6432/x", [("db.example", 6432)]),
        ("PostgreSQL+asyncpg://u:p@db.example:/x", [("db.example", None)]),
        (
            "postgresql://u:p@a.example:1,b.example,c:3/x",
            [("a.example", 1), ("b.example", None), ("c", 3)],
        ),
        (
            "postgresql://u:p@a:1,[::1]:2,[fe80::2%25eth0]/x",
            [("a", 1), ("::1", 2), ("fe80::2%eth0", None)],
        ),
        ("postgresql://u:p@%2Fvar%2Frun%2Fpostgresql/x", [("/var/run/postgresql", None)]),
        ("postgresql://u@/x?host=/var/run/postgresql&port=6000", [("/var/run/postgresql", 6000)]),
        ("postgresql:///x?host=a,b&port=1,2", [("a", 1), ("b", 2)]),
        ("postgresql:///x?host=a,b&port=7", [("a", 7), ("b", 7)]),
        ("postgresql://u:p@a,b/x?port=7", [("a", 7), ("b", 7)]),
        ("postgresql://u@/x", [("", None)]),
        ("postgresql:///x?port=6000", [("", 6000)]),
    ],
)
def test_hosts(text: str, expected: list[tuple[str, int | None]]) -> None:
    assert hosts(text) == expected


@pytest.mark.parametrize(
    ("text", "user", "password", "database"),
    [
        ("postgresql://u:p%40%2F%3A%23%3F@h/m%20k", "u", "p@/:#?", "m k"),
        ("postgresql://u:p@ss@h/x", "u", "p@ss", "x"),
        ("postgresql://u@h", "u", None, None),
        ("postgresql://h/?user=u&password=p&dbname=x", "u", "p", "x"),
        ("postgresql://u:a:b@h/x", "u", "a:b", "x"),
    ],
)
def test_login(text: str, user: str | None, password: str | None, database: str | None) -> None:
    url = DatabaseUrl.parse(text)
    assert (url.user, url.password, url.database) == (user, password, database)


@pytest.mark.parametrize(
    "text",
    [
        f"mysql://u:{SECRET}@h/x",
        f"postgresql:u:{SECRET}",
        f"postgresql://u:{SECRET}/@h/x",
        f"postgresql://u:{SECRET}#@h/x",
        f"postgresql://u:{SECRET}?@h/x",
        f"postgresql://u:{SECRET}@h:port/x",
        f"postgresql://u:{SECRET}@h:0/x",
        f"postgresql://u:{SECRET}@h:65536/x",
        f"postgresql://u:{SECRET}@h1,,h2/x",
        f"postgresql://u:{SECRET}@h1,/x",
        f"postgresql://u:{SECRET}@[::1/x",
        f"postgresql://u:{SECRET}@h\n/x",
    ],
)
def test_a_malformed_url_is_refused_with_its_form(text: str) -> None:
    assert "postgresql://user:password@host" in problem(text)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("channel_binding=require", "channel_binding cannot be honoured"),
        ("gssencmode=require", "gssencmode cannot be honoured"),
        ("sslcertmode=require", "sslcertmode"),
        ("require_auth=scram-sha-256", "require_auth"),
        ("requiressl=1", "requiressl cannot be honoured: use sslmode"),
        ("ssl=true", "ssl cannot be honoured: use sslmode"),
        ("sslcrldir=/etc/crl", "sslcrldir"),
        ("service=marking", "service"),
        ("hostaddr=10.0.0.1", "hostaddr"),
        ("replication=database", "replication"),
        ("target_session_attrs=standby", "a run writes"),
        ("target_session_attrs=read-only", "a run writes"),
        ("target_session_attrs=prefer-standby", "a run writes"),
        ("target_session_attrs=nonsense", "target_session_attrs must be one of any, read-write"),
        (f"sslmode={SECRET}", "sslmode must be one of disable, allow"),
        (f"connect_timeout={SECRET}", "connect_timeout must be a number"),
        (f"sslmode=require&{SECRET}", "name=value&name=value"),
        (f"{SECRET}%20=1", "a parameter has a name"),
        ("port=1,2", "another number of ports"),
    ],
)
def test_a_parameter_that_cannot_be_honoured_is_refused_by_name(query: str, says: str) -> None:
    assert says in problem(f"postgresql://u:{SECRET}@db.example/x?{query}")


def test_all_refused_parameters_are_named_at_once() -> None:
    text = problem("postgresql://u:p@h/x?service=a&hostaddr=b&sslmode=c")
    assert all(name in text for name in ("service", "hostaddr", "sslmode"))


def test_parameters_without_effect_are_ignored_and_named() -> None:
    url = DatabaseUrl.parse(
        "postgresql://u:p@h/x?keepalives=1&keepalives_idle=30&application_name=me"
        "&channel_binding=prefer&gssencmode=disable&tcp_user_timeout=5&sslmode=require"
    )
    assert url.ignored == [
        "application_name",
        "channel_binding",
        "gssencmode",
        "keepalives",
        "keepalives_idle",
        "tcp_user_timeout",
    ]
    assert url.parameters == {"sslmode": "require"}
    assert url.server_settings == {}


def test_other_parameters_are_settings_of_the_server() -> None:
    url = DatabaseUrl.parse(
        "postgresql://u:p@h/x?search_path=marking&options=-c%20work_mem%3D8MB&connect_timeout=3"
        "&my.setting=1"
    )
    assert url.server_settings == {
        "search_path": "marking",
        "options": "-c work_mem=8MB",
        "my.setting": "1",
    }


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("postgresql://u:p@db.example/marking", "db.example:5432/marking"),
        ("postgresql://u:p@DB.Example:6432/marking?sslmode=require", "db.example:6432/marking"),
        ("postgres://u:p%40%2F@db.example:5432/m%20k", "db.example:5432/m%20k"),
        ("postgresql+asyncpg://u:p@[::1]:5433/x", "::1:5433/x"),
        ("postgresql://u@/x?host=/var/run/postgresql", "/var/run/postgresql:5432/x"),
        ("postgresql://u:p@%2Fvar%2Frun/x", "%2Fvar%2Frun:5432/x"),
        ("postgresql://writer:p@db.example", "db.example:5432/writer"),
        ("postgresql:///x?host=db.example&port=6000", "db.example:6000/x"),
        ("postgresql://u:p@db.example/?dbname=y", "db.example:5432/y"),
    ],
)
def test_the_identity_of_one_host_never_changes(text: str, identity: str) -> None:
    """Otherwise sweep and rollback would not recognise the blobs of earlier runs."""
    assert DatabaseUrl.parse(text).identity == identity


def test_the_identity_of_several_hosts_does_not_depend_on_their_order() -> None:
    one = DatabaseUrl.parse("postgresql://u:p@b:2,a/x?target_session_attrs=primary")
    other = DatabaseUrl.parse("postgresql://v:q@a:5432,b:2/x")
    assert one.identity == other.identity == "a:5432,b:2/x"


@pytest.mark.parametrize(
    ("hosts", "local"), [("localhost,127.0.0.1", True), ("localhost,db.example", False)]
)
def test_all_hosts_of_a_local_url_are_local(hosts: str, *, local: bool) -> None:
    assert DatabaseUrl.parse(f"postgresql://u@{hosts}/x").is_local is local


@given(st.text(max_size=40))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    for url in (text, f"postgresql://{text}", f"postgresql://u:p@h/x?{text}"):
        try:
            parsed = DatabaseUrl.parse(url)
        except ValueError:
            continue
        assert parsed.hosts
        assert parsed.identity


@given(st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_an_encoded_login_is_read_back(user: str, password: str) -> None:

    url = DatabaseUrl.parse(f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@h/x")
    assert (url.user, url.password) == (user, password or None)
    assert url.hosts == [Host("h", None)]


def test_a_url_is_shown_without_its_secrets() -> None:
    url = DatabaseUrl.parse(f"postgresql://u:{SECRET}@h/x?sslpassword={SECRET}")
    assert SECRET not in repr(url)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("postgresql://h1/d?host=h2", "names a host twice"),
        ("postgresql:///d?host=a&host=b", "has a parameter twice: host"),
        ("postgresql:///d?port=1&port=2", "has a parameter twice: port"),
        ("postgresql://h:1/d?port=2", "names a port twice"),
        ("postgresql://h1:1,h2/d?port=2", "names a port twice"),
        ("postgresql://h/d?connect_timeout=99999", "connect_timeout must be"),
    ],
)
def test_what_is_named_twice_is_refused(text: str, says: str) -> None:
    """The connection and the identity of the target could use different ones."""
    with pytest.raises(ValueError, match=says):
        DatabaseUrl.parse(text)


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("postgresql://u@/", ["PGHOST", "PGPORT", "PGDATABASE"]),
        ("postgresql://u@h/d", ["PGPORT"]),
        ("postgresql://u@h:5432/d", []),
        ("postgresql:///d?host=h&port=5432", []),
        ("postgresql://u@h:5432", ["PGDATABASE"]),
        ("postgresql://h1:1,h2/d", ["PGPORT"]),
    ],
)
def test_variables_that_would_name_another_target_are_found(
    text: str, variables: list[str]
) -> None:
    environment = {"PGHOST": "other.example", "PGPORT": "6543", "PGDATABASE": "other"}
    url = DatabaseUrl.parse(text)
    assert url.variables_that_count(environment) == variables
    assert url.variables_that_count({"PGPORT": "5432", "PGUSER": "u"}) == []

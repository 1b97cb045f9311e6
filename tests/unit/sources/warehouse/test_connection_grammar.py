"""Connection strings: parsing returns the values that were quoted, in both syntaxes."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rogo_async.sources.warehouse.connection_grammar import freetds_value, odbc_value, parse

anything = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))
awkward = st.text(alphabet="ab ;={}'\"\\\t,", max_size=12)
values = st.one_of(anything, awkward)


def ado(value: str, mark: str) -> str:
    return mark + value.replace(mark, mark * 2) + mark


@given(password=values, user=values)
def test_odbc_syntax_returns_the_values(password: str, user: str) -> None:
    text = f"SERVER=h;UID={odbc_value(user)};PWD={odbc_value(password)};DATABASE=d"
    form = parse(text)
    assert form is not None
    assert form.pairs == [("SERVER", "h"), ("UID", user), ("PWD", password), ("DATABASE", "d")]
    assert not form.names_driver


@given(password=values, driver=values)
def test_odbc_syntax_with_a_driver(password: str, driver: str) -> None:
    form = parse(f"DRIVER={odbc_value(driver)};PWD={odbc_value(password)}")
    assert form is not None
    assert form.pairs == [("DRIVER", driver), ("PWD", password)]
    assert form.names_driver


@given(password=values, user=values, mark=st.sampled_from("'\""))
def test_ado_net_syntax_returns_the_values(password: str, user: str, mark: str) -> None:
    text = (
        f"Data Source=h;User ID = {ado(user, mark)};Password={ado(password, mark)} ; Encrypt=True;"
    )
    form = parse(text)
    assert form is not None
    assert form.pairs == [
        ("Data Source", "h"),
        ("User ID", user),
        ("Password", password),
        ("Encrypt", "True"),
    ]
    assert not form.names_driver


@given(password=values)
def test_odbc_quoting_follows_the_documentation(password: str) -> None:
    """As on Microsoft's page on SQLDriverConnect: in braces, with a closing brace doubled."""
    written = odbc_value(password)
    if written.startswith("{"):
        inside, end = written[1:-1], written[-1]
        assert end == "}"
        assert "}" not in inside.replace("}}", "")
        assert inside.replace("}}", "}") == password
    else:
        assert written == password
        assert not set(password) & set("[]{}(),;?*=!@ ") - {","}


@given(password=values)
def test_freetds_quoting_is_what_freetds_parses(password: str) -> None:
    """FreeTDS ends a value at the semicolon, and a value in braces at ``};``."""
    written = freetds_value(password)
    if written is None:
        assert "};" in password
        return
    text = f"{written};UID=u;"
    end = text.index("};", 1) if text.startswith("{") else text.index(";")
    start = 1 if text.startswith("{") else 0
    assert text[start:end] == password


@given(text=st.one_of(st.text(), awkward))
@example("\x1f=")
def test_any_text_is_parsed_or_rejected(text: str) -> None:
    form = parse(text)
    assert form is None or all(key.strip() for key, _ in form.pairs)


@pytest.mark.parametrize(
    "text",
    [
        "Server=h;Password=a;b",
        "Server=h;Password='a",
        'Server=h;Password="a"b;',
        "DRIVER={x;SERVER=h",
        "SERVER=h;PWD={a;b}c",
        "=x",
        "server",
        "nonsense",
        "=value",
        "DRIVER={D};PWD",
    ],
)
def test_neither_syntax(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        (
            "Server=tcp:h.example,1433;Initial Catalog=wh;User ID=me;Password=a{b;Encrypt=True",
            [
                ("Server", "tcp:h.example,1433"),
                ("Initial Catalog", "wh"),
                ("User ID", "me"),
                ("Password", "a{b"),
                ("Encrypt", "True"),
            ],
        ),
        ('Data Source=h;Password="p;q""r"', [("Data Source", "h"), ("Password", 'p;q"r')]),
        ("DRIVER={D};PWD={p}}q;r}", [("DRIVER", "D"), ("PWD", "p}q;r")]),
        (" ; DRIVER = {D} ;; UID = me ; ", [("DRIVER", "D"), ("UID", "me")]),
        ("DRIVER={D};PWD=", [("DRIVER", "D"), ("PWD", "")]),
    ],
)
def test_strings_as_operators_write_them(text: str, pairs: list[tuple[str, str]]) -> None:
    form = parse(text)
    assert form is not None
    assert form.pairs == pairs


def test_ado_net_keeps_braces_and_inner_quotes() -> None:
    form = parse("Data Source=h;Password={a'b\"c};User ID=u")
    assert form is not None
    assert form.pairs[1] == ("Password", "{a'b\"c}")


def test_keywords_inside_values_do_not_decide_the_syntax() -> None:
    ado_net = parse("Data Source=h;Password='a;DRIVER=x';")
    odbc = parse("DRIVER={x};PWD={a;Initial Catalog=y}")
    assert ado_net is not None
    assert ado_net.pairs == [("Data Source", "h"), ("Password", "a;DRIVER=x")]
    assert odbc is not None
    assert odbc.pairs == [("DRIVER", "x"), ("PWD", "a;Initial Catalog=y")]

"""Whatever is written into a connection string comes out of it again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rogo_async.sources.warehouse.connection_grammar import freetds_value, odbc_value, parse

anything = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))
awkward = st.text(alphabet="ab ;={}'\"\\\t,", max_size=12)
values = st.one_of(anything, awkward)


def ado(value: str, mark: str) -> str:
    return mark + value.replace(mark, mark * 2) + mark


@given(password=values, user=values)
def test_odbc_form_gives_back_what_was_put_in(password: str, user: str) -> None:
    text = f"SERVER=h;UID={odbc_value(user)};PWD={odbc_value(password)};DATABASE=d"
    form = parse(text)
    assert form is not None
    assert form.pairs == [("SERVER", "h"), ("UID", user), ("PWD", password), ("DATABASE", "d")]
    assert not form.names_driver


@given(password=values, driver=values)
def test_odbc_form_with_a_driver(password: str, driver: str) -> None:
    form = parse(f"DRIVER={odbc_value(driver)};PWD={odbc_value(password)}")
    assert form is not None
    assert form.pairs == [("DRIVER", driver), ("PWD", password)]
    assert form.names_driver


@given(password=values, user=values, mark=st.sampled_from("'\""))
def test_ado_net_form_gives_back_what_was_put_in(password: str, user: str, mark: str) -> None:
    text = f"Data Source=h;User ID={ado(user, mark)};Password={ado(password, mark)} ; Encrypt=True;"
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
def test_odbc_is_read_as_drivers_read_it(password: str) -> None:
    """As SQLDriverConnect's page has it: braces, in which a closing brace stands twice."""
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
def test_freetds_is_written_as_freetds_reads_it(password: str) -> None:
    """FreeTDS takes what is before the semicolon, or in braces what is before ``};``."""
    written = freetds_value(password)
    if written is None:
        assert "};" in password
        return
    text = f"{written};UID=u;"
    end = text.index("};", 1) if text.startswith("{") else text.index(";")
    start = 1 if text.startswith("{") else 0
    assert text[start:end] == password


@given(text=st.one_of(anything, awkward))
def test_any_text_is_read_or_refused(text: str) -> None:
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
    ],
)
def test_neither_form(text: str) -> None:
    assert parse(text) is None


def test_ado_net_keeps_braces_and_inner_quotes() -> None:
    form = parse("Data Source=h;Password={a'b\"c};User ID=u")
    assert form is not None
    assert form.pairs[1] == ("Password", "{a'b\"c}")


def test_names_in_values_do_not_decide_the_form() -> None:
    ado_net = parse("Data Source=h;Password='a;DRIVER=x';")
    odbc = parse("DRIVER={x};PWD={a;Initial Catalog=y}")
    assert ado_net is not None
    assert ado_net.pairs == [("Data Source", "h"), ("Password", "a;DRIVER=x")]
    assert odbc is not None
    assert odbc.pairs == [("DRIVER", "x"), ("PWD", "a;Initial Catalog=y")]

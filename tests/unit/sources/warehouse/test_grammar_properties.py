"""Connection strings: what is written down is read back, in either form."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rogo_async.sources.warehouse.connection_grammar import odbc_value, parse

VALUES = st.text(st.characters(exclude_categories=["Cs", "Cc"]))
TRICKY = st.text(st.sampled_from("{};='\" =ab"))


@given(st.lists(VALUES | TRICKY, min_size=1, max_size=4))
def test_an_odbc_string_gives_back_every_value(values: list[str]) -> None:
    text = "DRIVER={Some Driver};" + "".join(
        f"KEY{number}={odbc_value(value)};" for number, value in enumerate(values)
    )
    form = parse(text)
    assert form is not None
    assert form.names_driver
    assert form.pairs == [
        ("DRIVER", "Some Driver"),
        *((f"KEY{number}", value) for number, value in enumerate(values)),
    ]


@given(st.lists(VALUES | TRICKY, min_size=1, max_size=4), st.sampled_from("\"'"))
def test_an_ado_string_gives_back_every_value(values: list[str], mark: str) -> None:
    text = "User ID=me;" + "".join(
        f"Key {number} = {mark}{value.replace(mark, mark * 2)}{mark} ;"
        for number, value in enumerate(values)
    )
    form = parse(text)
    assert form is not None
    assert not form.names_driver
    assert form.pairs == [
        ("User ID", "me"),
        *((f"Key {number}", value) for number, value in enumerate(values)),
    ]


@given(st.text() | TRICKY)
@example("\x1f=")
def test_any_text_is_read_or_is_of_neither_form(text: str) -> None:
    form = parse(text)
    assert form is None or all(key.strip() for key, _ in form.pairs)


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
def test_forms_as_operators_write_them(text: str, pairs: list[tuple[str, str]]) -> None:
    form = parse(text)
    assert form is not None
    assert form.pairs == pairs


@pytest.mark.parametrize("text", ["nonsense", "=value", "DRIVER={D};PWD"])
def test_neither_form(text: str) -> None:
    assert parse(text) is None

"""Result of sp_datatype_info_100 for the types that pyodbc requests when it connects."""

from typing import Final

from tests.support.fake_sql_server.values import Int, Text, Type

TYPE_INFO_COLUMNS: Final[list[tuple[str, Type]]] = [
    ("TYPE_NAME", Text(128)),
    ("DATA_TYPE", Int(2)),
    ("PRECISION", Int(4)),
    ("LITERAL_PREFIX", Text(32)),
    ("LITERAL_SUFFIX", Text(32)),
    ("CREATE_PARAMS", Text(32)),
    ("NULLABLE", Int(2)),
    ("CASE_SENSITIVE", Int(2)),
    ("SEARCHABLE", Int(2)),
    ("UNSIGNED_ATTRIBUTE", Int(2)),
    ("MONEY", Int(2)),
    ("AUTO_INCREMENT", Int(2)),
    ("LOCAL_TYPE_NAME", Text(128)),
    ("MINIMUM_SCALE", Int(2)),
    ("MAXIMUM_SCALE", Int(2)),
    ("SQL_DATA_TYPE", Int(2)),
    ("SQL_DATETIME_SUB", Int(2)),
    ("NUM_PREC_RADIX", Int(4)),
    ("INTERVAL_PRECISION", Int(2)),
    ("USERTYPE", Int(2)),
]


def _row(name: str, data_type: int, precision: int) -> tuple[object, ...]:
    middle = ("'", "'", None, 1, 0, 3, None, 0, None, name, None, None)
    return (name, data_type, precision, *middle, data_type, None, None, None, 0)


TYPE_INFO_ROWS: Final = (
    _row("varchar", 12, 8000),
    _row("nvarchar", -9, 4000),
    _row("varbinary", -3, 8000),
    _row("datetime2", 93, 27),
)

"""The values of docs/example.env that each installation must replace (specification §4)."""

from typing import Final

_VALUES: Final = {
    "azure_storage_account_name": {"markingfiles"},
    "azure_storage_account_key": {"KEY"},
    "rogo_container": {"CONTAINER"},
    "rogo_source_hosts": {"rogofiles.blob.core.windows.net"},
    "rogo_source_sas_token": {"sv=…&sig=…"},
    "rogo_instance_id": {"INSTANCE"},
    "rogo_consumer_key": {"KEY"},
    "rogo_consumer_name": {"Learning site"},
    "rogo_return_url_base": {"https://learning.example/return/"},
}
_PARTS: Final = {
    "database_url": (":PASSWORD@", "@platform.example"),
    "data_warehouse_connection_string": ("Password=PASSWORD", "=tcp:warehouse.example"),
}


def check_placeholder(field: str, value: object) -> None:
    """Raise ValueError if the value of a setting is still that of docs/example.env."""
    known, parts = _VALUES.get(field, set()), _PARTS.get(field, ())
    texts = value if isinstance(value, tuple) else (value,)
    for text in texts:
        if isinstance(text, str) and (text in known or any(part in text for part in parts)):
            raise ValueError("is still the value of docs/example.env: set it to your own")

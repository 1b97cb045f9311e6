"""How settings are read and validated, and how an invalid one is explained (specification §4)."""

from typing import Any, TypeVar, cast

from pydantic import ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from rogo_async.common.env_file import ENV_FILE, EnvFile, check_value
from rogo_async.common.errors import SetupError
from rogo_async.common.placeholders import check_placeholder

_S = TypeVar("_S", bound="EnvironmentSettings")


class EnvironmentSettings(BaseSettings):
    """Settings from the command line, the environment and ``.env``."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        str_strip_whitespace=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - there are none
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The command line, the environment, ``.env``: the first that has a value counts."""
        path = cast("DotEnvSettingsSource", dotenv_settings).env_file
        return init_settings, env_settings, EnvFile(settings_cls, path)

    @field_validator("*", mode="before")
    @classmethod
    def _check_value(cls, value: Any, info: ValidationInfo) -> Any:
        name = info.field_name or ""
        checked = check_value(value, is_path=name.endswith(("_dir", "_file")))
        check_placeholder(name, checked)
        return checked


_INVALID_NAME = (
    "is not a valid name: use lower-case letters and digits (and single hyphens in a container)"
)
_REMEDIES = {
    "string_pattern_mismatch": _INVALID_NAME,
    "missing": "is missing: set it in the environment or in {env_file}",
    "string_too_short": "is empty: set it in the environment or in {env_file}",
    "too_short": "is empty: name at least one",
    "int_parsing": "is not a whole number",
    "bool_parsing": "is neither true nor false",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "string_too_long": "has more than {max_length} characters",
}


def read_settings(kind: type[_S], overrides: dict[str, Any]) -> _S:
    """Read and validate settings; ``overrides`` are fields set on the command line.

    ``_env_file`` among them names the file that is read in place of ``.env``. Raises SetupError
    with one line for each error, without the values.
    """
    env_file = str(overrides.get("_env_file") or ENV_FILE)
    try:
        return kind(**overrides)
    except ValidationError as error:
        problems = [_explain(item, env_file) for item in error.errors(include_url=False)]
        raise SetupError(*problems) from None
    except (UnicodeDecodeError, OSError):
        raise SetupError(
            f"{env_file}: cannot be read: it must be UTF-8 text with NAME=value lines"
        ) from None


def _explain(item: Any, env_file: str) -> str:
    name = str(item["loc"][0]).upper() if item["loc"] else "settings"
    remedy = _REMEDIES.get(item["type"])
    if remedy is None:
        remedy = item["msg"].removeprefix("Value error, ")
        if not remedy[:2].isupper():  # an abbreviation
            remedy = remedy[0].lower() + remedy[1:]
    else:
        remedy = remedy.format_map({**item.get("ctx", {}), "env_file": env_file})
    return f"{name}: {remedy}"

"""Settings from the environment: all errors at once, without secrets (specification §4)."""

from pathlib import Path

import pytest

from rogo_async.common.database_url import Host
from rogo_async.common.errors import SetupError
from rogo_async.common.settings import load_settings
from rogo_async.common.shard import Shard

SECRET = "c4nary-s3cret"
SOUND = {
    "DATABASE_URL": f"postgresql://writer:{SECRET}@db.example:5432/marking",
    "DATA_WAREHOUSE_CONNECTION_STRING": f"DRIVER={{x}};SERVER=w;PWD={SECRET}",
    "AZURE_STORAGE_CONNECTION_STRING": f"AccountName=a;AccountKey={SECRET}",
    "ROGO_SOURCE_HOSTS": "files.example",
    "ROGO_SOURCE_SAS_TOKEN": f"?sv=1&sig={SECRET}",
    "ROGO_CONTAINER": "submissions",
    "ROGO_INSTANCE_ID": "inst",
    "ROGO_CONSUMER_KEY": "key",
    "ROGO_CONSUMER_NAME": "Name of it",
    "ROGO_RETURN_URL_BASE": "https://lms.example/r/",
}
FILES = ("https", "files.example", 443)


@pytest.fixture(autouse=True)
def sound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A complete environment and a directory without a .env."""
    for name in (*SOUND, "AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in SOUND.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)


def problems() -> tuple[str, ...]:
    with pytest.raises(SetupError) as caught:
        load_settings()
    assert SECRET not in str(caught.value)
    return caught.value.problems


def test_the_defaults_are_those_of_the_specification() -> None:
    settings = load_settings()
    assert settings.rogo_version_prefixes == ("24", "25")
    assert settings.rogo_data_dir == Path()
    assert settings.rogo_progress_interval == 10
    assert settings.rogo_write_interval == 5
    assert settings.rogo_outage_limit == 900
    assert settings.rogo_max_duration is None
    assert settings.rogo_keep_runs == 30
    assert settings.rogo_migration_user_id is None
    assert settings.pg_pool_size == 20
    assert settings.warehouse_pool_size == 4
    assert settings.lms.consumer_name == "Name of it"


def test_pools_are_no_larger_than_the_concurrency(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROGO_CONCURRENCY", "3")
    settings = load_settings()
    assert (settings.pg_pool_size, settings.warehouse_pool_size) == (3, 3)
    monkeypatch.setenv("ROGO_PG_POOL_SIZE", "7")
    assert load_settings().pg_pool_size == 7


@pytest.mark.parametrize("name", [n for n in SOUND if n != "ROGO_SOURCE_SAS_TOKEN"])
@pytest.mark.parametrize("empty", [True, False])
def test_a_required_setting_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    empty: bool,
) -> None:
    if empty:
        monkeypatch.setenv(name, " " if name.startswith("ROGO_CONSUMER") else "")
    else:
        monkeypatch.delenv(name)
    (problem,) = problems()
    assert name in problem
    assert "missing" in problem or "empty" in problem


def test_all_errors_are_reported_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"mysql://u:{SECRET}@h/x")
    monkeypatch.setenv("ROGO_CONCURRENCY", SECRET)
    monkeypatch.setenv("ROGO_OUTAGE_LIMIT", "-1")
    monkeypatch.setenv("ROGO_SOURCE_HOSTS", f"https://u:{SECRET}@files.example")
    monkeypatch.setenv("ROGO_CONTAINER", "Not A Name")
    monkeypatch.setenv("ROGO_LOG_FORMAT", "xml")
    monkeypatch.delenv("ROGO_INSTANCE_ID")
    names = [problem.partition(":")[0] for problem in problems()]
    assert sorted(names) == [
        "DATABASE_URL",
        "ROGO_CONCURRENCY",
        "ROGO_CONTAINER",
        "ROGO_INSTANCE_ID",
        "ROGO_LOG_FORMAT",
        "ROGO_OUTAGE_LIMIT",
        "ROGO_SOURCE_HOSTS",
    ]


def test_printed_settings_have_no_secret() -> None:
    assert SECRET not in repr(load_settings())
    assert SECRET not in str(load_settings())


def test_a_dotenv_file_is_read_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ROGO_CONSUMER_KEY")
    (tmp_path / ".env").write_text("ROGO_CONSUMER_KEY='of the file'\nROGO_CONTAINER=other\n")
    settings = load_settings()
    assert settings.rogo_consumer_key == "of the file"
    assert settings.rogo_container == "submissions"


def test_a_binary_dotenv_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xff\xfe\x00")
    assert problems()[0].startswith(".env: ")


def test_account_name_and_key_replace_a_connection_string(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "collegefiles")
    assert load_settings().azure_storage_account_name == "collegefiles"
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "bad name")
    assert problems()[0].startswith("AZURE_STORAGE_ACCOUNT_NAME")


def test_a_single_token_belongs_to_the_single_host() -> None:
    assert load_settings().source_sas == {FILES: f"sv=1&sig={SECRET}"}


def test_with_several_hosts_each_token_names_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROGO_SOURCE_HOSTS", "files.example, http://127.0.0.1:10000")
    assert "host=token" in problems()[0]
    monkeypatch.setenv(
        "ROGO_SOURCE_SAS_TOKEN", "http://127.0.0.1:10000=sv=1&sig=a files.example=?sv=2&sig=b"
    )
    assert load_settings().source_sas == {
        ("http", "127.0.0.1", 10000): "sv=1&sig=a",
        FILES: "sv=2&sig=b",
    }
    monkeypatch.setenv("ROGO_SOURCE_SAS_TOKEN", f"other.example={SECRET}")
    assert problems()


def test_unreadable_certificate_file_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@db.example/x?sslrootcert=/none/ca.pem")
    (problem,) = problems()
    assert problem == "DATABASE_URL: cannot read the file of sslrootcert"


def test_a_driver_in_the_scheme_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql+asyncpg://u:p@127.0.0.1/x")
    assert load_settings().target_url.hosts == [Host("127.0.0.1", None)]


def test_a_variable_of_libpq_never_names_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "other.example")
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@/marking")
    (problem,) = problems()
    assert problem.startswith(
        "DATABASE_URL: must name host, port and database itself, since PGHOST"
    )


@pytest.mark.parametrize("name", ["ROGO_MAX_DURATION", "ROGO_OUTAGE_LIMIT", "ROGO_WRITE_INTERVAL"])
def test_a_duration_may_have_units(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "5h")
    assert getattr(load_settings(), name.lower()) == 18_000
    for text in ("five hours", "0", "8d"):
        monkeypatch.setenv(name, text)
        (problem,) = problems()
        assert problem.startswith(f"{name}: ")
        assert "write seconds, or a duration such as 30s, 90m, 5h" in problem


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("ROGO_CONCURRENCY", "many", "is not a whole number"),
        ("ROGO_CONCURRENCY", "0", "must be at least 1"),
        ("ROGO_CONCURRENCY", "9999", "must be at most 4096"),
        ("ROGO_REPORT", "perhaps", "is neither true nor false"),
        ("ROGO_LOG_FORMAT", "xml", "must be 'console' or 'json'"),
        ("ROGO_AMBIGUOUS_REPORTS", "both", "must be 'fail' or 'latest'"),
        ("ROGO_CONTAINER", "x" * 64, "has more than 63 characters"),
    ],
)
def test_messages_are_our_own(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, text: str
) -> None:
    monkeypatch.setenv(name, value)
    assert problems() == (f"{name}: {text}",)


def test_a_shard_and_its_run_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().rogo_shard is None
    monkeypatch.setenv("ROGO_SHARD", "3/10")
    monkeypatch.setenv("ROGO_RUN_ID", "20260301T010000Z-0000000a")
    settings = load_settings()
    assert settings.rogo_shard == Shard(3, 10)
    assert settings.rogo_run_id == "20260301T010000Z-0000000a"


@pytest.mark.parametrize(
    ("shard", "run_id", "problem"),
    [
        ("10/10", "20260301T010000Z-0000000a", "ROGO_SHARD: must be i/n with 0 <= i < n"),
        ("3/10", "", "ROGO_RUN_ID: is missing: all shards of a run have the same one"),
        ("3/10", "tonight", "ROGO_RUN_ID: must be a run id such as 2025"),
        ("3/10", "20260231T010000Z-0000000a", "ROGO_RUN_ID: does not begin with a valid time"),
    ],
)
def test_a_wrong_shard_or_run_id_is_refused(
    monkeypatch: pytest.MonkeyPatch, shard: str, run_id: str, problem: str
) -> None:
    monkeypatch.setenv("ROGO_SHARD", shard)
    monkeypatch.setenv("ROGO_RUN_ID", run_id)
    (found,) = problems()
    assert found.startswith(problem)


def test_the_digest_of_the_rules_differs_only_with_their_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    digest = load_settings().rules_digest
    monkeypatch.setenv("ROGO_CONCURRENCY", "3")
    monkeypatch.setenv("ROGO_SOURCE_SAS_TOKEN", "?sv=2&sig=other")
    assert load_settings().rules_digest == digest
    for name, value in (
        ("ROGO_VERSION_PREFIXES", "24"),
        ("ROGO_INSTANCE_ID", "other"),
        ("ROGO_REFRESH", "true"),
    ):
        with monkeypatch.context() as changed:
            changed.setenv(name, value)
            assert load_settings().rules_digest != digest, name


@pytest.mark.parametrize(
    ("hosts", "problem"),
    [
        ("files.example", "host 1 has a SAS in ROGO_SOURCE_SAS_TOKEN, too: remove one of them"),
        ("new.example, other.example", "host 2 is not in ROGO_SOURCE_HOSTS: add it there"),
        ("http://127.0.0.1:10000", "host 1 uses http: an access token is sent over https only"),
        ("new.example:444", "host 1 is not in ROGO_SOURCE_HOSTS: add it there"),
        (f"https://u:{SECRET}@new.example", "host 1: the address contains a user name or password"),
    ],
)
def test_hosts_that_cannot_get_an_access_token(
    monkeypatch: pytest.MonkeyPatch, hosts: str, problem: str
) -> None:
    monkeypatch.setenv("ROGO_SOURCE_HOSTS", "files.example, new.example, http://127.0.0.1:10000")
    monkeypatch.setenv("ROGO_SOURCE_SAS_TOKEN", f"files.example=sv=1&sig={SECRET}")
    monkeypatch.setenv("ROGO_SOURCE_IDENTITY_HOSTS", "https://NEW.example")
    assert load_settings().identity_sources == {("https", "new.example", 443)}
    monkeypatch.setenv("ROGO_SOURCE_IDENTITY_HOSTS", hosts)
    assert problems() == (f"ROGO_SOURCE_IDENTITY_HOSTS: {problem}",)

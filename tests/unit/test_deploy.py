"""The files in deploy/: units for systemd, Jobs for Kubernetes."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    for name in ("rogo-async.service", "rogo-async.timer"):
        text = (DEPLOY / name).read_text(encoding="utf-8")
        # The program and its files exist only where the tool is installed.
        text = text.replace("/opt/rogo_async/bin/rogo-async", "/bin/true")
        (tmp_path / name).write_text(text, encoding="utf-8")
    result = subprocess.run(
        ["systemd-analyze", "verify", *(str(each) for each in sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_misspelt_unit_would_be_noticed(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    unit = tmp_path / "rogo-async.service"
    unit.write_text("[Service]\nTypo=oneshot\nExecStart=/bin/true\n", encoding="utf-8")
    result = subprocess.run(
        ["systemd-analyze", "verify", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "Typo" in result.stderr


def test_the_unit_reads_the_settings_of_the_data_directory() -> None:
    unit = (DEPLOY / "rogo-async.service").read_text(encoding="utf-8").splitlines()
    assert "WorkingDirectory=/srv/rogo" in unit
    assert "EnvironmentFile=-/etc/rogo-async.env" in unit  # the - makes it optional


KUBERNETES: Final = DEPLOY / "kubernetes"
JOBS: Final = sorted(KUBERNETES.glob("*.yaml"))
VERSION: Final = "1.33"
"""The first version in which retries of a single index are stable."""


def job(path: Path) -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="scripts/setup installs it")
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def container(path: Path) -> dict[str, Any]:
    (found,) = job(path)["spec"]["template"]["spec"]["containers"]
    made: dict[str, Any] = found
    return made


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_the_jobs_are_valid_for_kubernetes(path: Path) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    validator.validate(job(path), VERSION, strict=True)
    misspelt = job(path)
    misspelt["spec"]["backofLimit"] = 3
    with pytest.raises(validator.ValidationError):
        validator.validate(misspelt, VERSION, strict=True)


def test_there_are_as_many_shards_as_pods() -> None:
    spec = job(KUBERNETES / "shards.yaml")["spec"]
    values = {
        each["name"]: each.get("value") for each in container(KUBERNETES / "shards.yaml")["env"]
    }
    assert values["ROGO_SHARD"] == f"$(SHARD_INDEX)/{spec['completions']}"
    assert spec["parallelism"] == spec["completions"]
    # A reference is replaced only after its variable.
    assert list(values).index("SHARD_INDEX") < list(values).index("ROGO_SHARD")


def test_a_collection_is_not_repeated_for_what_the_shards_left() -> None:
    """Its exit code is that of the shards, each time."""
    (rule,) = job(KUBERNETES / "collect.yaml")["spec"]["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob"
    assert rule["onExitCodes"]["values"] == [2, 3, 5, 70]


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
@pytest.mark.parametrize(("code", "expected"), [(0, 0), (1, 0), (2, 2), (3, 3), (70, 70)])
def test_failed_rows_are_a_success_for_kubernetes(path: Path, code: int, expected: int) -> None:
    result = subprocess.run(["sh", "-c", script(path, f"exit {code}")], check=False, timeout=60)
    assert result.returncode == expected


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_the_shell_waits_for_a_run_that_finishes_its_work(path: Path) -> None:
    """The signal goes to the whole group (tini -g)."""
    drains = "trap 'echo drained; exit 143' TERM; echo ready; while :; do sleep 0.05; done"
    process = subprocess.Popen(
        ["sh", "-c", script(path, drains)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert (output, process.returncode) == ("drained\n", 143)


def script(path: Path, stub: str) -> str:
    """The shell script of a Job with another program in place of the tool."""
    *shell, text = container(path)["command"]
    assert shell == ["tini", "-g", "--", "sh", "-c"]
    tool = r"/opt/rogo_async/bin/python -m rogo_async [^\n]*"
    assert len(re.findall(tool, text)) == 1
    return re.sub(tool, lambda _: f"( {stub} )", text)

"""The files in deploy/: units for systemd."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

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

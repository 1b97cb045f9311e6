"""What every command does with whatever goes wrong in it (SPEC §5, exit codes)."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import structlog

from rogo_async.control import Control, ExitCode, StopReason
from rogo_async.errors import (
    DataDirFull,
    Dependency,
    DependencyFault,
    InputChanged,
    LockHeld,
    RunStopped,
    SetupError,
)

_SETTING_OF: Final = {
    Dependency.TARGET: "DATABASE_URL",
    Dependency.WAREHOUSE: "DATA_WAREHOUSE_CONNECTION_STRING",
    Dependency.STORE: "AZURE_STORAGE_…",
    Dependency.SOURCE: "ROGO_SOURCE_HOSTS",
}
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Ending:
    """What is left of a command for its caller."""

    exit_code: ExitCode
    headline: str


async def guarded(
    work: Callable[[], Awaitable[None]], control: Control, outage_limit_s: float, data_dir: object
) -> None:
    """Do the work; what it raises becomes a reason to stop, for a report that is still written.

    Raises SetupError and LockHeld, before which nothing has been written.
    """
    asyncio.get_running_loop().set_exception_handler(_unforeseen)
    try:
        await work()
    except RunStopped:
        log.warning("stopped before the work was done")
    except InputChanged as changed:
        control.stop(StopReason.INPUT_CHANGED, str(changed))
    except DataDirFull as full:
        control.stop(StopReason.DISK, str(full))
    except TimeoutError as error:  # an OSError, too, and none of a file's
        log.critical("a fault of this tool", **without_values(error))
        control.stop(StopReason.FAULT, "see the traceback in the log")
    except OSError as error:
        control.stop(StopReason.DISK, f"{data_dir}: {error.strerror}")
    except DependencyFault as fault:
        control.stop(StopReason.OUTAGE, _outage(fault, outage_limit_s))
    except (SetupError, LockHeld):
        raise
    except Exception as error:  # noqa: BLE001 - the report is written whatever happens
        log.critical("a fault of this tool", **without_values(error))
        control.stop(StopReason.FAULT, "see the traceback in the log")


def without_values(error: BaseException) -> dict[str, object]:
    """Type and traceback of an exception for the log, without its text: that may quote a row."""
    return {"error": type(error).__name__, "traceback": _places(error)}


def _places(error: BaseException) -> str:
    places = "".join(traceback.format_tb(error.__traceback__))
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            places += f"{type(each).__name__}:\n{_places(each)}"
    return places


def _outage(fault: DependencyFault, limit_s: float) -> str:
    return (
        f"{fault.dependency.value} stayed away for {limit_s:g} s: {fault.reason}. "
        f"See that it runs and that {_SETTING_OF[fault.dependency]} leads to it"
    )


def _unforeseen(_loop: object, context: dict[str, Any]) -> None:
    """What the event loop has nobody to tell: a library's task that was left behind when its
    connection died. Our own tasks have owners. Logged without values.
    """
    error = context.get("exception")
    facts = without_values(error) if isinstance(error, BaseException) else {}
    log.error("nobody waited for this", stage=context.get("message"), **facts)

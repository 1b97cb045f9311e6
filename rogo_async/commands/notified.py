"""Notifies the receivers of ROGO_NOTIFY_URL of a full run, however it ends (specification §5)."""

from rogo_async.commands.runner import Ending
from rogo_async.common.errors import SetupError
from rogo_async.common.settings import Settings, load_notify_settings
from rogo_async.common.shutdown import ExitCode
from rogo_async.pipeline.selection import Selection
from rogo_async.reporting.notifications import Notifications

_SUCCESSES = frozenset({ExitCode.DONE, ExitCode.SOME_FAILED})


class RunNotifications:
    """The notifications of one run; none if it selects rows.

    None of a shard, either: ``collect`` tells how the whole run ended.
    """

    def __init__(self, selection: Selection) -> None:
        self._is_full = selection.is_full
        self._begun: Notifications | None = None

    def turn_off(self) -> None:
        """Send nothing: it turned out not to be a full run."""
        self._is_full = False

    def began(self, settings: Settings) -> None:
        """Send the pings of the start, in the background."""
        self._is_full = self._is_full and settings.rogo_shard is None
        if self._is_full:
            self._begun = Notifications(settings.notify_urls, settings.proxies)
            self._begun.began()

    async def ended(self, ending: Ending) -> None:
        """Send the pings of the end, also if the settings were too wrong to begin."""
        if not self._is_full:
            return
        notifications = self._begun
        if notifications is None:
            try:
                settings = load_notify_settings(**ending.given)
            except SetupError:  # the lines have been printed
                return
            notifications = Notifications(settings.notify_urls, settings.proxies)
        text = "; ".join(ending.lines)
        if not ending.has_result:
            text = f"exit {int(ending.code)}; {text}"
        await notifications.ended(f"rogo_async: {text}", is_success=ending.code in _SUCCESSES)

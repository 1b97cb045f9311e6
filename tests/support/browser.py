"""A headless Chromium, controlled over its debugging port."""

import asyncio
import base64
import contextlib
import itertools
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

DEADLINE_S = 60.0
_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


class Page:
    """The one page of a browser. ``console_messages`` has the output of its console,
    ``requested_urls`` the URLs that it requested.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.console_messages: list[str] = []
        self.requested_urls: list[str] = []
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded = asyncio.Event()

    async def listen(self) -> None:
        """Receive answers and events until the browser exits."""
        async for message in self._socket:
            found = message.json()
            if "id" in found:
                self._answers.pop(found["id"]).set_result(found)
            else:
                self._event(found["method"], found["params"])

    def _event(self, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requested_urls.append(params["request"]["url"])
        elif method == "Log.entryAdded":
            self.console_messages.append(params["entry"]["text"])
        elif method in {"Runtime.consoleAPICalled", "Runtime.exceptionThrown"}:
            self.console_messages.append(str(params))
        elif method == "Page.loadEventFired":
            self._loaded.set()

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the debugging protocol."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(DEADLINE_S):
            found = await answer
        assert "error" not in found, found
        result: dict[str, Any] = found["result"]
        return result

    async def open(self, file: Path, width: int) -> None:
        """Open a file in a window of this width, a phone below 600 pixels, with the network off."""
        self.console_messages.clear()
        self.requested_urls.clear()
        self._loaded.clear()
        for name in ("Page", "Network", "Log", "Runtime"):
            await self.call(f"{name}.enable")
        await self.call(
            "Network.emulateNetworkConditions",
            offline=True,
            latency=0,
            downloadThroughput=0,
            uploadThroughput=0,
        )
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        await self.call("Page.navigate", url=file.as_uri())
        async with asyncio.timeout(DEADLINE_S):
            await self._loaded.wait()

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"]["value"]

    async def screenshot(self) -> bytes:
        """A PNG of the whole page."""
        found = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(found["data"])

    async def print(self) -> bytes:
        """A PDF of the page."""
        found = await self.call("Page.printToPDF", printBackground=True)
        return base64.b64decode(found["data"])


@asynccontextmanager
async def browser(profile: Path) -> AsyncIterator[Page]:
    """A browser with its own profile. Skips the test if no browser is installed."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("no Chromium: apt-get install chromium-headless-shell")
    process = await asyncio.create_subprocess_exec(
        program,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        "about:blank",
        env={"PATH": os.environ["PATH"], "HOME": str(profile)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(DEADLINE_S):
            address = await _address(session, profile, process)
        async with aiohttp.ClientSession() as session:
            socket = await session.ws_connect(address, max_msg_size=0)
            page = Page(socket)
            listening = asyncio.create_task(page.listen(), name="browser")
            yield page
            await socket.close()
            await listening
    finally:
        # The program may be a script that starts the browser: kill its whole session.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _address(
    session: aiohttp.ClientSession, profile: Path, process: asyncio.subprocess.Process
) -> str:
    """The WebSocket address of the browser's first page."""
    written = profile / "DevToolsActivePort"
    while not (written.exists() and written.read_text().strip()):
        assert process.returncode is None, "the browser has exited"
        await asyncio.sleep(0.05)
    port = written.read_text().split()[0]
    while True:
        async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            pages = [each for each in await answer.json() if each["type"] == "page"]
        if pages:
            return str(pages[0]["webSocketDebuggerUrl"])
        await asyncio.sleep(0.05)

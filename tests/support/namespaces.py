"""Two hosts on one machine: network namespaces joined by a bridge, whose cable can be cut.

Needs root. The servers stay outside; each host reaches them at their usual addresses on 127.0.0.1,
through proxies of the test process that listen inside the namespace.
"""

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rogo_async.demo.servers.ports import LOOPBACK
from tests.support.tcp_proxy import TcpProxy

_DEADLINE_S: Final = 30.0
_CLONE_NEWNET: Final = 0x4000_0000
_NAMESPACES: Final = Path("/run/netns")


@dataclass(frozen=True, slots=True)
class Host:
    """A network namespace and its address in the network of the hosts."""

    namespace: str
    address: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """Begins the command line of a process of this host."""
        return ("nsenter", f"--net={_NAMESPACES / self.namespace}", "--")

    def open_socket(self) -> socket.socket:
        """A socket of this host, for the process that calls it, which stays where it is."""
        with ThreadPoolExecutor(1) as executor:  # only its thread enters the namespace
            return executor.submit(self._enter).result(_DEADLINE_S)

    def _enter(self) -> socket.socket:
        with (_NAMESPACES / self.namespace).open("rb") as file:
            failed = ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET)
        if failed:
            raise OSError(ctypes.get_errno(), f"setns {self.namespace}")
        return socket.socket()


@dataclass(frozen=True, slots=True)
class Network:
    """The hosts and the bridge between them."""

    hosts: tuple[Host, Host]
    bridge: str

    def cut(self) -> None:
        """Lose all packets between the hosts. Neither of them is told."""
        _ip("-n", self.bridge, "link", "set", "port1", "nomaster")

    def join(self) -> None:
        """Carry packets again."""
        _ip("-n", self.bridge, "link", "set", "port1", "master", "bridge")


def reason_to_skip() -> str | None:
    """Why this process cannot make namespaces; None if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "ip is missing: apt-get install iproute2"
    try:
        with two_hosts():
            return None
    except subprocess.CalledProcessError as error:  # in a chroot, for example
        return f"network namespaces are not permitted: {error.stderr.strip()}"


@contextlib.contextmanager
def two_hosts() -> Iterator[Network]:
    """Two hosts in a network of their own, for a with block."""
    name = f"rogo-{os.getpid()}"
    hosts = (Host(f"{name}-a", "10.77.0.1"), Host(f"{name}-b", "10.77.0.2"))
    bridge = f"{name}-switch"
    with contextlib.ExitStack() as stack:
        for namespace in (bridge, *(host.namespace for host in hosts)):
            _ip("netns", "add", namespace)
            stack.callback(_ip, "netns", "del", namespace)
        _ip("-n", bridge, "link", "add", "bridge", "type", "bridge")
        _ip("-n", bridge, "link", "set", "bridge", "up")
        for number, host in enumerate(hosts):
            port, there = f"port{number}", host.namespace
            _ip(
                *("-n", bridge, "link", "add", port, "type", "veth"),
                *("peer", "eth0", "netns", there),
            )
            _ip("-n", bridge, "link", "set", port, "master", "bridge", "up")
            _ip("-n", there, "address", "add", f"{host.address}/24", "dev", "eth0")
            for link in ("lo", "eth0"):
                _ip("-n", there, "link", "set", link, "up")
        yield Network(hosts, bridge)


@contextlib.asynccontextmanager
async def servers_of(hosts: Iterable[Host], ports: Iterable[int]) -> AsyncIterator[None]:
    """Let the hosts reach these ports of 127.0.0.1 outside, at the same address."""
    async with contextlib.AsyncExitStack() as stack:
        for host in hosts:
            for port in ports:
                proxy = TcpProxy(LOOPBACK, port, open_socket=host.open_socket)
                proxy.port = port
                await stack.enter_async_context(proxy)
        yield


def _ip(*arguments: str) -> None:
    """Raises CalledProcessError."""
    subprocess.run(
        ["ip", *arguments], check=True, capture_output=True, text=True, timeout=_DEADLINE_S
    )

"""Reads the processes and the TCP connections of this machine.

Information that the system does not show is reported as unknown: on macOS, only root sees the connections of
other programs, and a container sees only its own processes and network.
"""

from __future__ import annotations

import socket
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import Any, NamedTuple, Self

import psutil

_ANY = ("0.0.0.0", "::")  # noqa: S104


class Connection(NamedTuple):
    """A connection from a client to a port of this machine."""

    ip: str
    port: int
    client_ip: str
    client_port: int


@dataclass(frozen=True)
class SocketTable:
    """The ports on which programs of this machine listen, and the clients that are connected to them.

    Args:
        listeners: Process id of each listener by address and port; None for processes of other users.
        own_ips: The addresses of this machine.
    """

    listeners: dict[tuple[str, int], int | None] = field(default_factory=dict)
    connections: dict[int, frozenset[Connection]] = field(default_factory=dict)
    own_ips: frozenset[str] = frozenset()

    @classmethod
    def read(cls) -> Self:
        """Read the table of this machine. It is empty if the system does not show it."""
        entries: Any
        try:
            entries = psutil.net_connections(kind="tcp")
            own = {
                _plain(one.address) for each in psutil.net_if_addrs().values() for one in each if _is_ip(one)
            }
        except (psutil.Error, OSError):
            return cls()
        listeners: dict[tuple[str, int], int | None] = {}
        found: defaultdict[int, set[Connection]] = defaultdict(set)
        for entry in entries:
            if entry.status == psutil.CONN_LISTEN:
                listeners[_plain(entry.laddr.ip), entry.laddr.port] = entry.pid
            elif entry.status == psutil.CONN_ESTABLISHED:
                ip, port = _plain(entry.laddr.ip), entry.laddr.port
                found[port].add(Connection(ip, port, _plain(entry.raddr.ip), entry.raddr.port))
        connections = {port: frozenset(each) for port, each in found.items()}
        return cls(listeners, connections, frozenset(own))

    def clients(self, ips: Iterable[str], port: int) -> frozenset[Connection] | None:
        """Return the clients of a listener; None if the table has no such listener."""
        places = self._places(ips, port)
        if not places:
            return None
        found = self.connections.get(port, frozenset())
        listening_on = {ip for ip, _ in places}
        if listening_on.intersection(_ANY):
            return found
        return frozenset(one for one in found if one.ip in listening_on)

    def process(self, ips: Iterable[str], port: int) -> int | None:
        """Return the id of the process that listens at an address; None if it is unknown."""
        return next((pid for place in self._places(ips, port) if (pid := self.listeners[place])), None)

    def _places(self, ips: Iterable[str], port: int) -> list[tuple[str, int]]:
        asked = {_plain(ip) for ip in ips}
        exact = [(ip, port) for ip in asked if (ip, port) in self.listeners]
        if exact or not any(ip_address(ip).is_loopback or ip in self.own_ips for ip in asked):
            return exact
        return [(ip, port) for ip in _ANY if (ip, port) in self.listeners]


def _is_ip(interface_address: Any) -> bool:
    return interface_address.family in (socket.AF_INET, socket.AF_INET6)


def memory_of(pids: Iterable[int]) -> dict[int, int]:
    """Return the memory of processes including their descendants, in bytes, as far as it can be read.

    On Linux, each process counts only its share of shared memory.
    """
    children: defaultdict[int, list[psutil.Process]] = defaultdict(list)
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            children[process.ppid()].append(process)
    found = {}
    for pid in pids:
        with suppress(psutil.Error):
            found[pid] = sum(map(_memory, _family(psutil.Process(pid), children)))
    return found


def _family(process: psutil.Process, children: dict[int, list[psutil.Process]]) -> list[psutil.Process]:
    family = [process]
    for member in family:
        family += children.get(member.pid, ())
    return family


def _memory(process: psutil.Process) -> int:
    try:
        info = process.memory_full_info()
        return int(getattr(info, "pss", 0) or info.rss)
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
    except psutil.Error:
        # The process has ended in the meantime.
        return 0


def _plain(ip: str) -> str:
    """Normalize an address: remove its zone, and convert a mapped address to IPv4."""
    address = ip_address(ip.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)

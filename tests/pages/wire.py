"""The way between the browser and the service, which a test cuts: a TCP proxy on a port of its own. It can take a prefix
off the paths, as the proxy of an operator does."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass

# How long a test waits for what must happen on the wire, in seconds.
PATIENCE = 30

_HEAD = re.compile(rb"^(GET|HEAD|POST|PATCH|PUT|DELETE) (/[^ ]*) HTTP/1\.1\r\n(.*?)\r\n\r\n", re.DOTALL)


@dataclass(frozen=True)
class Request:
    """A request that the browser sent."""

    method: str
    path: str
    # Its `Idempotency-Key`, if it had one.
    key: str


class Wire:
    """Forwards connections to an address, and cuts them when the test says so."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.address: tuple[str, int] = ("", 0)
        self._changed = threading.Condition()
        self._requests: list[Request] = []
        self._open: set[socket.socket] = set()
        # Requests reach the service, and their responses are lost.
        self._loses = False
        # Nothing gets through.
        self._is_cut = False
        self._lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @contextlib.contextmanager
    def losing_responses(self) -> Iterator[None]:
        """Within the block, the service gets requests and the browser gets no response."""
        self._loses = True
        try:
            yield
        finally:
            self._loses = False

    @contextlib.contextmanager
    def cut(self) -> Iterator[None]:
        """Within the block, nothing reaches the service."""
        self._is_cut = True
        for connection in list(self._open):
            _reset(connection)
        try:
            yield
        finally:
            self._is_cut = False

    def requests(self, method: str, path: str) -> list[Request]:
        """The requests so far of this method and path."""
        with self._changed:
            return [request for request in self._requests if (request.method, request.path) == (method, path)]

    def forget(self) -> None:
        """Counts from here on."""
        with self._changed:
            self._requests.clear()
            self._lost = 0

    def wait_until_lost(self, count: int) -> None:
        """Waits until this many responses were lost."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._lost >= count, PATIENCE), f"{self._lost} responses were lost"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_cut:
                _reset(client)
                continue
            try:
                server = socket.create_connection(self.address)
            except OSError:
                _reset(client)
                continue
            self._open.update((client, server))
            threading.Thread(target=self._forward, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, False), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, is_request: bool) -> None:
        try:
            while data := source.recv(65536):
                if is_request:
                    data = self._without_prefix(data)
                    self._record(data)
                elif self._loses:
                    with self._changed:
                        self._lost += 1
                        self._changed.notify_all()
                    _reset(target)
                    break
                target.sendall(data)
        except OSError:
            pass
        for connection in (source, target):
            self._open.discard(connection)
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _without_prefix(self, data: bytes) -> bytes:
        if self.prefix and _HEAD.match(data):
            return data.replace(f" {self.prefix}/".encode(), b" /", 1)
        return data

    def _record(self, data: bytes) -> None:
        # A browser sends the head of a request at once, and no second request before the response.
        if not (head := _HEAD.match(data)):
            return
        method, path, headers = (part.decode("latin-1") for part in head.groups())
        key = re.search(r"^idempotency-key: (.*?)\r?$", headers, re.IGNORECASE | re.MULTILINE)
        with self._changed:
            self._requests.append(Request(method, path, key[1] if key else ""))

    def close(self) -> None:
        """Ends it."""
        self._listener.close()


def _reset(connection: socket.socket) -> None:
    """Closes a connection as a network does that breaks: at once."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        connection.close()

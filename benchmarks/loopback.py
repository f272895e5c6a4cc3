"""What the station's benchmarks share: photographs that are all different, a station in a process of its own,
and a client that costs next to nothing. Everything stays on 127.0.0.1."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Reply:
    """What a station answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def data(self) -> dict:
        """Return the envelope's data."""
        return json.loads(self.body)["data"]


class Connection:
    """One kept-alive HTTP connection with nothing around it."""

    def __init__(self, port: int, *, timeout_s: float = 60.0) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def ask(self, head: bytes, body: bytes = b"") -> Reply:
        """Send a request and return its answer. Raises OSError where the connection breaks."""
        self._socket.sendall(head + body)
        while b"\r\n\r\n" not in self._rest:
            self._more()
        top, _, rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = top.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", "0"))
        self._rest = rest
        while len(self._rest) < length:
            self._more()
        content, self._rest = self._rest[:length], self._rest[length:]
        return Reply(int(first.split()[1]), headers, content)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _more(self) -> None:
        got = self._socket.recv(1 << 18)
        if not got:
            raise ConnectionError("the station closed the connection")
        self._rest += got


def inspect_head(length: int, *, id: str = "", part: str = "") -> bytes:
    """Return the head of a request that sends a PNG of this many bytes to be inspected."""
    return (
        f"POST /api/inspect?id={id}&part={part} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def json_head(method: str, path: str, length: int = 0) -> bytes:
    """Return the head of a request with a JSON body of this many bytes."""
    return (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def different(png: bytes, number: int) -> bytes:
    """Return a PNG with the same pixels and other bytes: a remark with a number before its end."""
    text = b"tEXtnumber\0%d" % number
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    end = png.rindex(b"IEND") - 4
    return png[:end] + chunk + png[end:]


@contextmanager
def station(
    store: Path, model: Path, *, port: int, log: Path, options: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `flawscope serve` until it takes photographs; what is still running at the end is stopped."""
    command = [sys.executable, "-m", "flawscope", "serve", "--store", str(store), "--model", str(model)]
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [*command, "--port", str(port), *options], stdout=stream, stderr=stream, env=os.environ.copy()
        )
    try:
        wait_until_ready(port, process, log)
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until_ready(port: int, process: subprocess.Popen[bytes], log: Path, *, seconds: float = 600) -> None:
    """Wait until a station answers that it is ready. Raises RuntimeError where it ends or takes too long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            connection = Connection(port, timeout_s=20)
            try:
                if connection.ask(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").status == 200:
                    return
            finally:
                connection.close()
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"the station did not come up: {log.read_text()[-2000:]}")


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])

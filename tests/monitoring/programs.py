"""The service and Prometheus as processes, each on a free port of this machine."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The time limit in seconds for a program to start, to stop, and to respond.
PATIENCE = 60

# The folder of the programs' logs.
LOGS = Path(__file__).resolve().parents[2] / "target/monitoring"

# No proxies: everything is on this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Failed(Exception):
    """A failed check, described by the text."""


@dataclass(frozen=True)
class Response:
    """An HTTP response."""

    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def request(url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Response:
    """Sends a request: POST if it has a body, else GET."""
    prepared = urllib.request.Request(url, data=body, headers=dict(headers or {}))
    try:
        with _OPENER.open(prepared, timeout=PATIENCE) as response:
            return Response(response.status, response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Response(error.code, error.read())
    except OSError as error:
        raise Failed(f"{url} does not respond: {error}") from error


def send_raw(url: str, sent: bytes) -> bytes:
    """Sends bytes; returns the bytes received until the other side closes."""
    parts = urllib.parse.urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), PATIENCE) as connection:
        connection.sendall(sent)
        return b"".join(iter(lambda: connection.recv(4096), b""))


def eventually(what: str, faults: Callable[[], list[str]], seconds: float = PATIENCE) -> None:
    """Waits until there are no faults, or fails with the remaining ones."""
    deadline = time.monotonic() + seconds
    while left := faults():
        if time.monotonic() > deadline:
            raise Failed(f"{what}, after {seconds:.0f} s:\n  " + "\n  ".join(left))
        time.sleep(0.2)


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    url: str

    def api(self, path: str, **parameters: str) -> Any:
        """The `data` of a response of its API."""
        response = request(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        body = response.json()
        if body["status"] != "success":
            raise Failed(f"{parameters or path}: {body['error']}")
        return body["data"]

    def query(self, query: str) -> list[dict[str, str]]:
        """The current series of a query, each as its labels; the figure has the key `""`."""
        found = self.api("query", query=query)
        if found["resultType"] == "scalar":
            return [{"": found["result"][1]}]
        return [series["metric"] | {"": series["value"][1]} for series in found["result"]]


# The password in the list of breached ones.
BREACHED = "breached horse battery staple"


@contextmanager
def service(binary: Path, folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Runs the service on SQLite, with a list of breached passwords; yields its address and its process."""
    words, breached = folder / "breached.txt", folder / "breached.bin"
    words.write_text(f"{BREACHED}\n")
    build = [binary, "breached", "build", "--from", words, "--out", breached]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    settings = {
        "BREACHED_PASSWORDS_FILE": str(breached),
        "HOST": "127.0.0.1",
        "PORT": "0",
        "DATABASE_URL": f"sqlite://{folder}/signup.db",
        "BCRYPT_COST": "4",
        "LOG_FORMAT": "json",
        "ADMIN_PORT": "0",
        "EMAIL_VERIFICATION": "off",
    }
    with _running([str(binary), "serve"], LOGS / "service.log", settings) as (process, line):
        yield line("message", "ready: listening")["address"], process


@contextmanager
def prometheus(config: Path, folder: Path) -> Iterator[str]:
    """Runs Prometheus; yields its address."""
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder}/prometheus",
        "--web.listen-address=127.0.0.1:0",
        "--log.format=json",
    ]
    with _running(command, LOGS / "prometheus.log", None) as (_, line):
        address = line("msg", "Listening on")["address"]

        def unready() -> list[str]:
            response = request(f"http://{address}/-/ready")
            return [] if response.status == 200 else [response.body.decode()]

        eventually("Prometheus is not ready", unready)
        yield address


@contextmanager
def _running(
    command: list[str], log: Path, environment: Mapping[str, str] | None
) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[str, str], dict[str, str]]]]:
    """Runs a program that logs in JSON.

    Yields its process, and a function that waits for a line in which a member has this value.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def wait_for_line(member: str, value: str) -> dict[str, str]:
        found: list[dict[str, str]] = []

        def missing() -> list[str]:
            lines = log.read_text(errors="replace").splitlines()
            for line in lines:
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if isinstance(entry, dict) and entry.get(member) == value:
                    found.append(entry)
                    return []
            if process.poll() is not None:
                raise Failed(
                    "\n  ".join([f"{command[0]} exited with {process.returncode}:", *lines[-20:]])
                )
            return lines[-20:] or ["it logged nothing"]

        eventually(f'{command[0]} did not log "{value}"', missing)
        return found[0]

    try:
        yield process, wait_for_line
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> int:
    """Terminates a process, kills it if it does not end, and returns its exit code."""
    process.terminate()
    try:
        return process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()

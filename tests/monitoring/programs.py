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

# Seconds for a program to start, to stop, and to answer.
PATIENCE = 60

# Where the programs' logs are left.
LOGS = Path(__file__).resolve().parents[2] / "target/monitoring"

# Nothing here goes through a proxy: it is all on this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Failed(Exception):
    """A check that does not hold; the text says which."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def ask(url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Answer:
    """Sends a request: POST where it has a body, else GET."""
    request = urllib.request.Request(url, data=body, headers=dict(headers or {}))
    try:
        with _OPENER.open(request, timeout=PATIENCE) as response:
            return Answer(response.status, response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read())
    except OSError as error:
        raise Failed(f"{url} does not answer: {error}") from error


def speak(url: str, said: bytes) -> bytes:
    """Sends bytes; gives what comes back until the other side closes."""
    parts = urllib.parse.urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), PATIENCE) as connection:
        connection.sendall(said)
        return b"".join(iter(lambda: connection.recv(4096), b""))


def eventually(what: str, faults: Callable[[], list[str]], seconds: float = PATIENCE) -> None:
    """Waits until there are no faults, or fails with those that are left."""
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
        """The `data` of an answer of its API."""
        answer = ask(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        told = answer.json()
        if told["status"] != "success":
            raise Failed(f"{parameters or path}: {told['error']}")
        return told["data"]

    def query(self, query: str) -> list[dict[str, str]]:
        """The series that a query has now, each as its labels; the figure is at `""`."""
        found = self.api("query", query=query)
        if found["resultType"] == "scalar":
            return [{"": found["result"][1]}]
        return [series["metric"] | {"": series["value"][1]} for series in found["result"]]


@contextmanager
def service(binary: Path, folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Runs the service on SQLite; gives its address and its process."""
    settings = {
        "HOST": "127.0.0.1",
        "PORT": "0",
        "DATABASE_URL": f"sqlite://{folder}/signup.db",
        "BCRYPT_COST": "4",
        "LOG_FORMAT": "json",
    }
    with _running([str(binary), "serve"], LOGS / "service.log", settings) as (process, line):
        yield line("message", "ready: listening")["address"], process


@contextmanager
def prometheus(config: Path, folder: Path) -> Iterator[str]:
    """Runs Prometheus; gives its address."""
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
            answer = ask(f"http://{address}/-/ready")
            return [] if answer.status == 200 else [answer.body.decode()]

        eventually("Prometheus is not ready", unready)
        yield address


@contextmanager
def _running(
    command: list[str], log: Path, environment: Mapping[str, str] | None
) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[str, str], dict[str, str]]]]:
    """Runs a program that logs in JSON.

    Gives its process, and a function that waits for a line in which a member has this value.
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
                    told = json.loads(line)
                except ValueError:
                    continue
                if isinstance(told, dict) and told.get(member) == value:
                    found.append(told)
                    return []
            if process.poll() is not None:
                raise Failed(
                    "\n  ".join([f"{command[0]} ended with {process.returncode}:", *lines[-20:]])
                )
            return lines[-20:] or ["it logged nothing"]

        eventually(f'{command[0]} did not log "{value}"', missing)
        return found[0]

    try:
        yield process, wait_for_line
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> int:
    """Asks a process to end, and ends it if it does not. Gives its exit code."""
    process.terminate()
    try:
        return process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()

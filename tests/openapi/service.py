"""Starts the service for a test: the debug build, on a free port, with its own database; and its users."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
BINARY = TARGET / "debug" / "signup-service"
POSTGRES = TARGET / "debug" / "examples" / "postgres"

# The time limit in seconds for a shutdown, and for a response.
PATIENCE = 30

# The password of every user made here.
PASSWORD = "correct horse battery staple"


def until(what: str, holds: Callable[[], bool]) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() >= deadline:
            raise SystemExit(f"no {what} within {PATIENCE} s")
        time.sleep(0.02)


@dataclass(frozen=True)
class Service:
    """A running service."""

    # Such as 127.0.0.1:40123.
    address: str

    def post(self, path: str, body: dict[str, Any], credential: str = "") -> dict[str, Any]:
        """The body of the response to a request that must succeed; without a body, nothing."""
        headers = {"Content-Type": "application/json"}
        if credential:
            headers["Authorization"] = f"Bearer {credential}"
        request = urllib.request.Request(f"http://{self.address}{path}", json.dumps(body).encode(), headers)
        # No proxies: the service is on this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=PATIENCE) as response:
            found: dict[str, Any] = json.loads(response.read() or b"{}")
            return found

    def sign_up(self) -> str:
        """The address of a new user."""
        email = f"{uuid.uuid4().hex}@example.org"
        self.post("/signup", {"name": "Ada Lovelace", "email": email, "password": PASSWORD})
        return email

    def log_in(self, email: str) -> dict[str, Any]:
        """The session of a new login of a user made here."""
        return self.post("/auth/login", {"email": email, "password": PASSWORD})


@dataclass(frozen=True)
class OwnService(Service):
    """A running service that was started here."""

    # The address of the listener for administration.
    administration: str
    settings: dict[str, str]

    def administrator(self) -> str:
        """The address of a new administrator."""
        email = f"{uuid.uuid4().hex}@example.org"
        command = [str(BINARY), "users", "create", "--email", email, "--name", "Ada Lovelace", "--role", "admin"]
        subprocess.run(
            [*command, "--password-stdin", "--json"],
            env=self.settings, input=PASSWORD, stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        return email

    def service_key(self, *permissions: str) -> str:
        """A new service key with these permissions."""
        options = [word for permission in permissions for word in ("--permission", permission)]
        command = [str(BINARY), "service-keys", "create", "--name", "test", "--expires-in-days", "1", *options]
        done = subprocess.run(
            command, env=self.settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=True
        )
        return done.stdout.strip()


@contextlib.contextmanager
def started(command: list[str], **options: object) -> Iterator[subprocess.Popen[str]]:
    """A process that ends with the block."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        if process.stdin:
            process.stdin.close()
        else:
            process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ready(output: IO[str]) -> dict[str, Any]:
    """The line of the log with the addresses of the service."""
    lines = []
    for line in output:
        lines.append(line)
        event: dict[str, Any] = json.loads(line)
        if event["message"] == "ready: listening":
            return event
    raise SystemExit("the service did not start:\n" + "".join(lines))


def token_of(mail: Path) -> str:
    """The token of the link in a mail, which is a file."""
    # Soft line breaks, of quoted-printable.
    text = mail.read_text().replace("=\n", "").replace("=\r\n", "")
    found = re.search(r"#([\w-]{64})", text)
    assert found, mail
    return found[1]


@contextlib.contextmanager
def database(backend: str) -> Iterator[str]:
    """The URL of an empty database."""
    if backend == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite://{folder}/signup.db"
    else:
        with started([str(POSTGRES)], stdin=subprocess.PIPE) as server:
            assert server.stdout
            url = server.stdout.readline().strip()
            if not url:
                raise SystemExit("PostgreSQL did not start")
            yield url


def settings_of(url: str, **more: str) -> dict[str, str]:
    """The settings of a service on this database, and more of them."""
    return {
        "PORT": "0",
        # The host used by the browser.
        "HTTP_HOSTS": "docs.test",
        "DATABASE_URL": url,
        "DATABASE_MIGRATE": "true",
        "IDEMPOTENCY_SECRET": "a secret of thirty-two bytes or more",
        "AUTH_SECRET": "a secret of thirty-two bytes or more",
        # All requests of a test come from one address, and a run may be long.
        "RATE_LIMIT_LOGIN": "off",
        "RATE_LIMIT_REFRESH": "off",
        "RATE_LIMIT_USER": "off",
        "RATE_LIMIT_MAIL": "off",
        # Users log in without a mail, unless a test is about them.
        "EMAIL_VERIFICATION": "off",
        "ACCESS_TOKEN_TTL_SECONDS": "3600",
        "ADMIN_PORT": "0",
        "BCRYPT_COST": "4",
        "LOG_FORMAT": "json",
        # Only the line with its address, as the rest of the log is not read.
        "RUST_LOG": "warn,signup_service::app=info",
        **more,
    }


@contextlib.contextmanager
def instance(settings: dict[str, str]) -> Iterator[OwnService]:
    """A running instance of the service with these settings."""
    with started([str(BINARY), "serve"], env=settings) as process:
        assert process.stdout
        ready = _ready(process.stdout)
        yield OwnService(ready["address"], ready["administration"], settings)
        if process.poll() is not None:
            raise SystemExit("the service ended during the test")


@contextlib.contextmanager
def service(backend: str, **more: str) -> Iterator[OwnService]:
    """A running service with its own database, and with more settings."""
    with database(backend) as url, instance(settings_of(url, **more)) as running:
        yield running

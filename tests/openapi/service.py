"""Starts the service for a test: the debug build, on a free port, with its own database."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
BINARY = TARGET / "debug" / "signup-service"
POSTGRES = TARGET / "debug" / "examples" / "postgres"

# The time limit in seconds for a shutdown.
PATIENCE = 30


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


def _address(output: IO[str]) -> str:
    """The address of the service, from its log."""
    lines = []
    for line in output:
        lines.append(line)
        event = json.loads(line)
        if event["message"] == "ready: listening":
            return str(event["address"])
    raise SystemExit("the service did not start:\n" + "".join(lines))


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


@contextlib.contextmanager
def service(backend: str, **more: str) -> Iterator[str]:
    """The address of a running service, such as 127.0.0.1:40123, with more settings."""
    with database(backend) as url:
        settings = {
            "PORT": "0",
            # The host used by the browser.
            "HTTP_HOSTS": "docs.test",
            "DATABASE_URL": url,
            "DATABASE_MIGRATE": "true",
            "IDEMPOTENCY_SECRET": "a secret of thirty-two bytes or more",
            "AUTH_SECRET": "a secret of thirty-two bytes or more",
            "READS": "open",
            "ADMIN_PORT": "0",
            "BCRYPT_COST": "4",
            "LOG_FORMAT": "json",
            # Only the line with its address, as the rest of the log is not read.
            "RUST_LOG": "warn,signup_service::app=info",
            **more,
        }
        with started([str(BINARY), "serve"], env=settings) as process:
            assert process.stdout
            yield _address(process.stdout)
            if process.poll() is not None:
                raise SystemExit("the service ended during the test")

"""Access to the project for the checks: its files, its settings, its images."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
TOOLS = Path(sys.executable).parent
KUBERNETES = "1.37"
BINARY = ROOT / (os.environ.get("CARGO_TARGET_DIR") or "target") / "debug" / "signup-service"
# The target whose crates are checked: those of other systems may be missing on this machine.
TARGET = "x86_64-unknown-linux-gnu"
# The most time that the service takes to close its connections after the grace period.
CLOSE_MS = 5000
# Standard variables for traces, some of which are not in docs/reference/settings.md.
OTEL = {
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
}
# The default max_connections of PostgreSQL.
POSTGRES_CONNECTIONS = 100

Mistakes = Iterator[str]
Document = dict[str, Any]
CHECKS: list[Callable[[], Mistakes]] = []


def check(function: Callable[[], Mistakes]) -> Callable[[], Mistakes]:
    """Registers a function as a check."""
    CHECKS.append(function)
    return function


def run(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    """The standard output of a command that must succeed."""
    done = subprocess.run(command, cwd=cwd, env=env, text=True, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def read(path: str) -> str:
    """A file of the project."""
    return (ROOT / path).read_text()


def files_below(path: str) -> list[str]:
    """The files of a folder that git does not ignore, or the file itself."""
    return run("git", "ls-files", "--cached", "--others", "--exclude-standard", "--", path).splitlines()


@cache
def version() -> str:
    """The version of the service."""
    return str(tomllib.loads(read("Cargo.toml"))["package"]["version"])


@cache
def settings() -> dict[str, str]:
    """Each setting of docs/reference/settings.md, with its default."""
    rows = re.findall(r"^\| `([A-Z_]+)`[^|]*\|[^|]*\| (.*?) \|", read("docs/reference/settings.md"), re.MULTILINE)
    return {name: default.strip("`") for name, default in rows}


@cache
def secret_settings() -> set[str]:
    """The settings marked as secret in the source."""
    source = "".join(read(path) for path in files_below("src/config"))
    return set(re.findall(r"secret\(\w+\(\s*\"([A-Z_]+)\"", source))


def is_known(name: str) -> bool:
    """Whether the service reads this variable."""
    return name.removesuffix("_FILE") in settings() or name in OTEL


def open_doors(environment: dict[str, str]) -> Mistakes:
    """The settings by which more than the clients' listener can be reached, or by more callers."""
    if environment.get("READS", "protected") != "protected":
        yield "all clients can list all users"
    # Loopback by default. Even with a credential, no client has any business there.
    if "ADMIN_HOST" in environment:
        yield "the administration listener can be reached from other machines"
    for name in ("RATE_LIMIT_SIGNUP", "RATE_LIMIT_LOGIN", "RATE_LIMIT_REFRESH"):
        if not re.fullmatch(r"\d+/\d+[smh]", environment.get(name, "")):
            yield f"{name} is not set"


def setting_ms(environment: dict[str, str], name: str) -> int:
    """The value of a time setting, or its default."""
    return int(environment.get(name) or settings()[name])


def stop_ms(environment: dict[str, str]) -> int:
    """The most time that the service takes to stop."""
    return (
        setting_ms(environment, "SHUTDOWN_DELAY_MS") + setting_ms(environment, "SHUTDOWN_GRACE_MS") + CLOSE_MS
    )


@check
def settings_are_found() -> Mistakes:
    """The two look-ups above find settings."""
    if len(settings()) < 20 or settings().get("PORT") != "8000":
        yield "docs/reference/settings.md has no table of settings in the expected format"
    known = {
        "DATABASE_URL",
        "DATABASE_READ_URL",
        "REDIS_URL",
        "IDEMPOTENCY_SECRET",
        "IDEMPOTENCY_SECRET_PREVIOUS",
        "AUTH_SECRET",
        "AUTH_SECRET_PREVIOUS",
    }
    if not known <= secret_settings():
        yield "src/config marks no secrets in the expected format"


def unpinned(image: str) -> str | None:
    """The mistake in the tag of an image, if any."""
    tag = image.rpartition("/")[2].partition(":")[2]
    if "@sha256:" in image:
        return None
    # Distroless has no versions; the release of Debian is in the name.
    if re.fullmatch(r"gcr\.io/distroless/cc-debian\d+:nonroot", image):
        return None
    if not re.match(r"v?\d+\.\d+(\.\d+)?(-|$)", tag):
        return f"the image {image} is not pinned to a version"
    if image.partition(":")[0].endswith("signup-service") and tag != version():
        return f"the image {image} is not of version {version()}, as Cargo.toml says"
    return None

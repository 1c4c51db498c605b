"""What the checks know of the project: its files, its commands; and how one becomes a check."""

import os
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

Mistakes = Iterator[str]
CHECKS: list[Callable[[], Mistakes]] = []


class Skipped(Exception):
    """What could not be checked here, and why."""


def check(function: Callable[[], Mistakes]) -> Callable[[], Mistakes]:
    """Makes a function a check."""
    CHECKS.append(function)
    return function


def run(*command: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in the project, with some more variables."""
    env = {**os.environ, **more}
    return subprocess.run(command, cwd=ROOT, env=env, text=True, capture_output=True, check=False)


def read(path: str | Path) -> str:
    """A file of the project."""
    return (ROOT / path).read_text()


@cache
def files(*patterns: str) -> list[str]:
    """The files of the project that match a pattern of git."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns)
    return [file for file in listed.stdout.splitlines() if (ROOT / file).exists()]


def bill_error(text: str) -> str | None:
    """What is wrong with a bill of materials by CycloneDX, if anything."""
    # Here, as most checks do without, and this takes half a second.
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    return str(error) if error else None


def cargo_version() -> str:
    """The version of the service."""
    return str(tomllib.loads(read("Cargo.toml"))["package"]["version"])

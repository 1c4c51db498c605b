"""Access to the project for the checks: its files and commands; and the registration of checks."""

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
    """A check that could not be made here, with the reason."""


def check(function: Callable[[], Mistakes]) -> Callable[[], Mistakes]:
    """Registers a function as a check."""
    CHECKS.append(function)
    return function


def run(*command: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in the project, with additional variables."""
    env = {**os.environ, **more}
    return subprocess.run(command, cwd=ROOT, env=env, text=True, capture_output=True, check=False)


def read(path: str | Path) -> str:
    """A file of the project."""
    return (ROOT / path).read_text()


@cache
def files(*patterns: str) -> list[str]:
    """The files of the project that match git patterns."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns)
    return [file for file in listed.stdout.splitlines() if (ROOT / file).exists()]


def bill_error(text: str) -> str | None:
    """The mistake in a CycloneDX bill of materials, if any."""
    # Imported here, as this takes half a second and most checks do not need it.
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    return str(error) if error else None


def cargo_version() -> str:
    """The version of the service."""
    return str(tomllib.loads(read("Cargo.toml"))["package"]["version"])

"""Generates clients from docs/reference/openapi.json and runs them against the service, with an administrator's access
token for the list: Python by openapi-python-client, which
must not print warnings, and TypeScript by openapi-typescript, whose types the compiler checks.

To add a generator, pin it in clients/requirements.in or clients/package.json, and write its example beside the others.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import service

CLIENTS = Path(__file__).with_name("clients")
# The environment of the generators, including node.
GENERATORS = service.TARGET / "generators-venv" / "bin"
# The folder of `npm ci`, with its package files.
NODE = service.TARGET / "openapi-node"


def run(*command: object, **options: object) -> str:
    """Runs a program; returns its output."""
    result = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{GENERATORS}:{os.environ['PATH']}", "no_proxy": "*", "NO_PROXY": "*"}
        | options.pop("env", {}),  # type: ignore[operator]
        **options,  # type: ignore[call-overload]
    )
    if result.returncode != 0:
        raise SystemExit(f"check-openapi: {command[0]} failed:\n{result.stdout}")
    return result.stdout


def python(document: Path, folder: Path, *arguments: str) -> None:
    output = run(
        GENERATORS / "openapi-python-client", "generate", "--path", document, "--output-path", folder / "python",
        "--fail-on-warning",
    )  # fmt: skip
    if "WARNING" in output:
        raise SystemExit(f"check-openapi: openapi-python-client warns:\n{output}")
    run(GENERATORS / "python", CLIENTS / "example.py", *arguments, env={"PYTHONPATH": str(folder / "python")})


def typescript(document: Path, folder: Path, *arguments: str) -> None:
    here = folder / "typescript"
    shutil.copytree(CLIENTS, here)
    (here / "node_modules").symlink_to(NODE / "node_modules")
    programs = NODE / "node_modules" / ".bin"
    run(programs / "openapi-typescript", document, "--output", here / "schema.d.ts")
    run(programs / "tsc", "--project", here)
    run(GENERATORS / "node", "example.ts", *arguments, cwd=here)


def check(document: Path) -> None:
    """Checks that each generator creates a working client."""
    with service.service("sqlite") as running, tempfile.TemporaryDirectory() as folder:
        token = running.log_in(running.administrator())["access_token"]
        for generate in (python, typescript):
            print(f"check-openapi: a client in {generate.__name__}", flush=True)
            generate(document, Path(folder), f"http://{running.address}", token)

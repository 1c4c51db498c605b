"""Checks of the configuration of the host and of developers' tools: CODEOWNERS, the devcontainer, nextest,
coverage, links."""

import json
import re
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from project import ROOT, Mistakes, check, files, read, run
from workflows import make_targets

NEXTEST = Path(sys.executable).with_name("cargo-nextest")
CONFIG = ".config/nextest.toml"
OWNER = re.compile(r"@[\w-]+(/[\w-]+)?|[\w.+-]+@[\w.-]+")

Document = dict[str, Any]


@check
def code_owners_exist() -> Mistakes:
    """Every path matches a file, every line has owners, and every file has owners."""
    lines = [line.split() for line in read(".github/CODEOWNERS").splitlines() if line and not line.startswith("#")]
    if not lines or lines[0][0] != "*":
        yield "CODEOWNERS does not begin with an owner of everything"
    organisations = set()
    for pattern, *owners in lines:
        path = pattern.strip("/")
        if pattern != "*" and (not files(path) or pattern.endswith("/") != (ROOT / path).is_dir()):
            yield f"CODEOWNERS names {pattern}, which matches nothing"
        if not owners:
            yield f"CODEOWNERS has no owner for {pattern}"
        for owner in owners:
            if not OWNER.fullmatch(owner):
                yield f"CODEOWNERS: {owner} is neither a user, nor a team, nor an address"
            if "/" in owner:
                organisations.add(owner.partition("/")[0])
    if len(organisations) > 1:
        yield f"CODEOWNERS names teams of several organisations: {', '.join(sorted(organisations))}"


@check
def the_devcontainer_matches_ci() -> Mistakes:
    """It has the compiler of the service's image, a non-root user, the programs of the tests, and the port."""
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
    if re.findall(r"^FROM (.*)$", text, re.MULTILINE) != ["${BUILD_IMAGE}"]:
        yield f"{folder}: it is built from another image than the one compared"
    user = container.get("remoteUser", "root")
    made = re.search(rf"useradd .*--uid (\d+) {user}\b", text)
    if not made or re.findall(r"^USER (\S+)", text, re.MULTILINE)[-1:] != [made[1]]:
        yield f"{folder}: it does not run as the user {user} created in the Dockerfile"
    port = re.search(r"^EXPOSE (\d+)$", read("Dockerfile"), re.MULTILINE)
    if not port or int(port[1]) not in container.get("forwardPorts", []):
        yield f"{folder}: the port of the service is not forwarded"
    if "programs" not in make_targets(container.get("onCreateCommand", "")):
        yield f"{folder}: it does not run `make programs`"


def test_binaries(metadata: Document, stand_in: Path) -> Iterator[Document]:
    """Each test binary of the workspace in nextest's format, with one stand-in program for all."""
    for package in metadata["packages"]:
        for target in package["targets"]:
            kind = target["kind"][0]
            if package["id"] in metadata["workspace_members"] and target["test"] and kind in ("lib", "bin", "test"):
                yield {
                    "binary-id": f"{package['name']}::{kind}/{target['name']}",
                    "binary-name": target["name"],
                    "package-id": package["id"],
                    "kind": kind,
                    "build-platform": "target",
                    "binary-path": str(stand_in),
                }


def instead_of_a_build(folder: Path) -> list[str | Path]:
    """Options for nextest to use a script that lists one test for each test binary, without building."""
    known = run("cargo", "metadata", "--locked", "--format-version", "1", "--all-features")
    if known.returncode:
        raise ValueError(known.stderr)
    stand_in = folder / "lists-a-test"
    stand_in.write_text('#!/bin/sh\ncase "$*" in *--ignored*) ;; *) echo "a_test: test" ;; esac\n')
    stand_in.chmod(0o755)
    build = {
        "target-directory": str(folder),
        "base-output-directories": ["debug"],
        "non-test-binaries": {},
        "build-script-out-dirs": {},
        "linked-paths": [],
        "target-platforms": [],
        "target-platform": None,
    }
    described = {binary["binary-id"]: binary for binary in test_binaries(json.loads(known.stdout), stand_in)}
    binaries, metadata = folder / "binaries.json", folder / "metadata.json"
    binaries.write_text(json.dumps({"rust-build-meta": build, "rust-binaries": described}))
    metadata.write_text(known.stdout)
    return ["--binaries-metadata", binaries, "--cargo-metadata", metadata]


def profiles() -> dict[str, Document]:
    """The profiles of nextest."""
    found: dict[str, Document] = tomllib.loads(read(CONFIG))["profile"]
    return found


@check
def nextest_accepts_its_configuration() -> Mistakes:
    """It knows every setting, and every filter names existing binaries and matches a test."""
    try:
        overrides = [each for profile in profiles().values() for each in profile.get("overrides", [])]
    except tomllib.TOMLDecodeError as error:
        yield f"{CONFIG}: {error}"
        return
    with tempfile.TemporaryDirectory() as name:
        options = instead_of_a_build(Path(name))
        for chosen in ("all()", *(override["filter"] for override in overrides)):
            listed = run(NEXTEST, "nextest", "list", *options, "--message-format", "json", "-E", chosen)
            if listed.returncode or "unknown configuration" in listed.stderr:
                yield f"{CONFIG}, {chosen}: {listed.stderr.strip()}"
            elif '"status":"matches"' not in listed.stdout:
                yield f"{CONFIG}: no test is matched by {chosen}"


@check
def nextest_bounds_every_test() -> Mistakes:
    """Hanging tests are ended, none is retried, few run at once, and CI continues after a failure."""
    if not isinstance(profiles()["default"].get("test-threads"), int):
        yield f"{CONFIG} does not limit the number of concurrent tests"
    if "terminate-after" not in profiles()["default"].get("slow-timeout", {}):
        yield f"{CONFIG} has no time limit for a test"
    for profile, settings in profiles().items():
        for part in [settings, *settings.get("overrides", [])]:
            where = part.get("filter", f"profile {profile}")
            if part.get("retries", 0) != 0:
                yield f"{CONFIG}, {where}: a failed test is retried"
            if "slow-timeout" in part and "terminate-after" not in part["slow-timeout"]:
                yield f"{CONFIG}, {where}: there is no time limit for a test"
    if profiles().get("ci", {}).get("fail-fast") is not False:
        yield f"{CONFIG}: the profile ci does not show all failures"


def anchors(file: str) -> set[str]:
    """The anchors of a document, as the host of the repository makes them of its headings."""
    text = re.sub(r"^```.*?^```", "", read(file), flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        while anchor in found:
            anchor += "-1"
        found.add(anchor)
    return found


@check
def links_between_documents_resolve() -> Mistakes:
    """Every relative link leads to a file, and its anchor to a heading."""
    followed = 0
    for file in files("*.md"):
        text = re.sub(r"^```.*?^```", "", read(file), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(<?([^)\s>]+)>?\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            followed += 1
            path, _, anchor = target.partition("#")
            linked = (ROOT / file).parent / path if path else ROOT / file
            if not linked.exists():
                yield f"{file} links to {target}, which does not exist"
            elif anchor and linked.suffix == ".md" and anchor not in anchors(str(linked.resolve().relative_to(ROOT))):
                yield f"{file} links to {target}, which has no such heading"
    if followed < 100:
        yield f"only {followed} links were found"


@check
def coverage_is_kept_in_ci() -> Mistakes:
    """CI counts the lines that the tests run, and the bars stand."""
    if "export COVERAGE=1" not in read(".ci/run"):
        yield ".ci/run does not count lines"
    if "COVERAGE: 1" not in read(".github/workflows/ci.yml"):
        yield "ci.yml does not count lines"
    bars = [float(bar) for bar in re.findall(r'", ([\d.]+)\),$', read("tests/coverage/check.py"), re.MULTILINE)]
    if bars != [100.0, 95.0, 85.0, 85.0, 70.0]:
        yield f"the bars of the layers are {bars}"

"""Checks of a release: the files of scripts/release/release.py, and that the workflow `release` calls it correctly.

A script stands in for Docker and records its calls. Services of the host are not checked here: its machines, its cache,
a registry, the signatures.
"""

import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from project import ROOT, Mistakes, bill_error, cargo_version, check, read, run
from workflows import commands, jobs

sys.path.append(str(ROOT / "scripts/release"))
from release import BASES, BINARY, DOCUMENTS, NAME, NOTICES, PLATFORMS  # noqa: E402  it is not beside this file

SCRIPT = ROOT / "scripts/release/release.py"
WORKFLOW = ".github/workflows/release.yml"
COMMIT, TIME = "c0ffee" * 6 + "c0ff", 1_790_000_000
REGISTRY = "registry.example/signup-service"
# The variables that the host sets for a workflow.
HOST = {
    "GITHUB_SERVER_URL": "https://host.example",
    "GITHUB_REPOSITORY": "team/signup-service",
    "GITHUB_REPOSITORY_ID": "1",
    "GITHUB_REPOSITORY_OWNER_ID": "2",
    "GITHUB_WORKFLOW_REF": f"team/signup-service/{WORKFLOW}@refs/tags/v1",
    "GITHUB_REF": "refs/tags/v1",
    "GITHUB_SHA": COMMIT,
    "GITHUB_EVENT_NAME": "push",
    "GITHUB_RUN_ID": "3",
    "GITHUB_RUN_ATTEMPT": "4",
    "RUNNER_ENVIRONMENT": "github-hosted",
    "SOURCE_DATE_EPOCH": str(TIME),
}
DOCKER = """#!/bin/sh
echo "$@" >> "$STAND_IN/calls"
case "$1 $2" in
  "image inspect") for image; do :; done; echo "${image%%:*}@sha256:$(printf %s "$image" | sha256sum | cut -c-64)" ;;
  create*) echo container ;;
  "cp container:/signup-service") printf binary > "$3" ;;
  "cp container:/usr/share/doc/signup-service") cp -r "$STAND_IN/notices" "$3" ;;
  "cp container:/var/lib/dpkg/status.d")
    mkdir "$3"
    printf 'Package: libc6\\nVersion: 2.41-12\\nArchitecture: amd64\\n' > "$3/libc6"
    echo "0 usr/lib/libc.so.6" > "$3/libc6.md5sums" ;;
  save*) printf layers ;;
  "buildx imagetools") [ "$3" != inspect ] || echo "sha256:$(printf %s "$4" | sha256sum | cut -c-64)" ;;
  pull* | build* | rm* | load* | tag* | push*) ;;
  *) exit 99 ;;
esac
"""


@check
def a_release_names_what_exists() -> Mistakes:
    """Targets, the binary, paths in the image, images and files; and the workflow builds for each target."""
    rules = tomllib.loads(read("deny.toml"))["graph"]["targets"]
    if sorted(PLATFORMS) != sorted(target for target in rules if "-linux-" in target):
        yield f"{SCRIPT.name} releases for {', '.join(PLATFORMS)}, and deny.toml checks {', '.join(rules)}"
    if NAME not in [program["name"] for program in tomllib.loads(read("Cargo.toml"))["bin"]]:
        yield f"Cargo.toml has no program {NAME}"
    dockerfile = read("Dockerfile")
    copied = re.findall(r"^COPY --from=build .*?(\S+)$", dockerfile, re.MULTILINE)
    for path in (BINARY, NOTICES):
        if path not in copied:
            yield f"the Dockerfile copies nothing to {path}"
    images = dict(re.findall(r"^ARG (\w+)=(\S+)$", dockerfile, re.MULTILINE))
    for name in BASES:
        if f"FROM ${{{name}}}" not in dockerfile or name not in images:
            yield f"the Dockerfile does not build from {name}"
    if "/distroless/" not in images.get("RUN_IMAGE", ""):
        yield "RUN_IMAGE is not a distroless image, which lists its packages where the release reads them"
    for file in DOCUMENTS:
        if not (ROOT / file).is_file():
            yield f"an archive cannot have {file}, which does not exist"

    ran = {name: [command for _, command in commands(job)] for file, name, job in jobs() if file == WORKFLOW}
    found = [target for command in ran["build"] for target in re.findall(r"release\.py build (\S+)", command)]
    if sorted(found) != sorted(PLATFORMS):
        yield f"{WORKFLOW} builds for {', '.join(found)}, and {SCRIPT.name} knows {', '.join(PLATFORMS)}"
    for program in re.findall(r"target/release-venv/bin/([\w-]+)", "\n".join(sum(ran.values(), []))):
        if program not in read("scripts/release/requirements.in").splitlines():
            yield f"{WORKFLOW} runs {program}, which scripts/release/requirements.in does not have"
    for step in ("check", "build", "push", "seal"):
        if sum(f"release.py {step} " in command for command in sum(ran.values(), [])) not in (1, len(PLATFORMS)):
            yield f"{WORKFLOW} does not run the step {step}"
    steps = [(job, step) for file, job, described in jobs() if file == WORKFLOW for step in described["steps"]]
    saved = {step["with"]["path"] for _, step in steps if "cache/save@" in step.get("uses", "")}
    for job in ("push", "publish"):
        taken = [step["with"] for name, step in steps if name == job and "cache/restore@" in step.get("uses", "")]
        if sorted(with_["key"].rpartition("}}-")[2] for with_ in taken) != sorted(PLATFORMS):
            yield f"{WORKFLOW}: the job {job} does not restore the files of each target"
        if any({with_["path"]} != saved or with_.get("fail-on-cache-miss") is not True for with_ in taken):
            yield f"{WORKFLOW}: the job {job} does not restore the saved files, or continues without them"


def step(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a step of a release, with the stand-in for Docker."""
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return run(sys.executable, SCRIPT, *arguments, **HOST, STAND_IN=str(folder), PATH=path)


def bill() -> dict[str, Any]:
    """A bill of materials as of scripts/notices.py, with one crate."""
    service, crate = (
        {"type": kind, "bom-ref": purl, "name": purl, "version": "1", "purl": purl}
        for kind, purl in (("application", f"pkg:cargo/{NAME}@{cargo_version()}"), ("library", "pkg:cargo/tokio@1.0.0"))
    )
    dependencies = [{"ref": service["bom-ref"], "dependsOn": [crate["bom-ref"]]}]
    head = {"bomFormat": "CycloneDX", "specVersion": "1.6", "metadata": {"component": service}}
    return head | {"components": [crate], "dependencies": dependencies}


def made(folder: Path) -> str | None:
    """Makes a complete release in a folder; returns the failure, if any."""
    docker = folder / "bin/docker"
    docker.parent.mkdir()
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    (folder / "notices").mkdir()
    (folder / "notices/licences.txt").write_text("MIT")
    (folder / "notices/sbom.cdx.json").write_text(json.dumps(bill()))
    out = folder / "out"
    image = ""
    for arguments in (*(("build", target, out) for target in PLATFORMS), ("push", REGISTRY, out), ("seal", out)):
        done = step(folder, *arguments, *([image] if arguments[0] == "seal" else []))
        if done.returncode:
            return f"{arguments[0]}: {done.stderr}"
        image = done.stdout.strip() or image
    # The same again, in another folder.
    done = step(folder, "build", next(iter(PLATFORMS)), folder / "again")
    return done.stderr if done.returncode else None


@check
def a_release_is_complete() -> Mistakes:
    """It has every file, each with its checksum; archives have the right content, and are reproducible."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if failed := made(folder):
            yield f"making a release failed: {failed}"
            return
        assets = folder / "out/assets"
        version = cargo_version()
        binaries = [f"{NAME}-{version}-{target}" for target in PLATFORMS]
        images = [f"{NAME}-{version}-image-linux-{machine}" for machine in ("amd64", "arm64")]
        wanted = {f"{stem}{suffix}" for stem in (*binaries, *images) for suffix in (".tar.gz", ".cdx.json")}
        wanted |= {"SHA256SUMS", "image.txt"}
        found = {file.name for file in assets.iterdir()}
        if found != wanted:
            yield f"a release lacks {sorted(wanted - found)}, and has unexpected {sorted(found - wanted)}"
            return
        sums = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=assets, capture_output=True, text=True)
        if sums.returncode or len(sums.stdout.splitlines()) != len(wanted) - 1:
            yield f"SHA256SUMS is wrong: {sums.stdout}{sums.stderr}"
        for stem in binaries:
            yield from wrong_archive(assets / f"{stem}.tar.gz", stem)
        again = folder / "again" / next(iter(PLATFORMS)) / f"{binaries[0]}.tar.gz"
        if again.read_bytes() != (assets / again.name).read_bytes():
            yield "archives are not reproducible"
        for stem in (*binaries, *images):
            yield from wrong_bill(assets / f"{stem}.cdx.json", is_image=stem in images)
        yield from wrong_provenance(folder / "out/provenance.json")
        if not re.fullmatch(rf"{REGISTRY}@sha256:[0-9a-f]{{64}}\n", (assets / "image.txt").read_text()):
            yield "image.txt does not name the pushed image"
        yield from wrong_calls((folder / "calls").read_text())


def wrong_archive(path: Path, top: str) -> Mistakes:
    """Mistakes in an archive of the binary."""
    with tarfile.open(path) as archive:
        members = {member.name.removeprefix(f"{top}/"): member for member in archive.getmembers()}
        if set(members) != {NAME, "licences.txt", "sbom.cdx.json", *DOCUMENTS}:
            yield f"{path.name} has {sorted(members)}"
            return
        binary = archive.extractfile(members[NAME])
        if not binary or binary.read() != b"binary" or members[NAME].mode != 0o755:
            yield f"{path.name} does not have the binary of the image"
    if any((member.mtime, member.uid) != (TIME, 0) for member in members.values()):
        yield f"{path.name} contains the user and the time of packing"


def wrong_bill(path: Path, *, is_image: bool) -> Mistakes:
    """Mistakes in a bill of materials."""
    text = path.read_text()
    if error := bill_error(text):
        yield f"{path.name}: {error}"
    bill = json.loads(text)
    purls = {part.get("purl", "") for part in bill["components"]}
    if not any(purl.startswith("pkg:cargo/tokio@") for purl in purls):
        yield f"{path.name} lacks the crates"
    for purl in ("pkg:deb/debian/libc6@2.41-12?arch=amd64", f"pkg:cargo/{NAME}@{cargo_version()}"):
        if (purl in purls) != is_image:
            yield f"{path.name} must have {purl} only for an image"
    if (bill["metadata"]["component"]["type"] == "container") != is_image:
        yield f"{path.name} describes another component than its file"


def wrong_provenance(path: Path) -> Mistakes:
    """Mistakes in the provenance, by https://slsa.dev/spec/v1.1/provenance."""
    statement = json.loads(path.read_text())
    definition, details = statement["buildDefinition"], statement["runDetails"]
    workflow = definition["externalParameters"]["workflow"]
    if workflow != {"ref": "refs/tags/v1", "repository": "https://host.example/team/signup-service", "path": WORKFLOW}:
        yield f"the provenance names the workflow as {workflow}"
    commit, *images = [source["digest"] for source in definition["resolvedDependencies"]]
    if commit != {"gitCommit": COMMIT}:
        yield f"the provenance names the commit as {commit}"
    if len(images) != len(BASES) or any(not re.fullmatch("[0-9a-f]{64}", image.get("sha256", "")) for image in images):
        yield f"the provenance names the base images as {images}"
    if not details["builder"]["id"].endswith(f"/{WORKFLOW}@refs/tags/v1"):
        yield f"the provenance names the builder as {details['builder']['id']}"
    if not details["metadata"]["invocationId"].endswith("/actions/runs/3/attempts/4"):
        yield "the provenance does not name the run"


def wrong_calls(calls: str) -> Mistakes:
    """Mistakes in the calls of Docker."""
    for target, platform in PLATFORMS.items():
        builds = [line for line in calls.splitlines() if line.startswith(f"build --platform {platform} ")]
        pinned = [rf"{name}=\S+@sha256:\w{{64}}" for name in BASES]
        for part in (*pinned, f"REVISION={COMMIT}", f"VERSION={cargo_version()}"):
            if not builds or not re.search(rf"--build-arg {part} ", builds[0]):
                yield f"the image for {target} is built without {part}"
    first = [line.split()[0] for line in calls.splitlines()]
    if first.count("create") != first.count("rm"):
        yield "a container is left behind"
    parts = [f"{REGISTRY}:{cargo_version()}-{machine}" for machine in ("amd64", "arm64")]
    if f"--tag {REGISTRY}:{cargo_version()} {' '.join(parts)}\n" not in calls:
        yield "the image is not pushed for all platforms under one name"


@check
def only_this_version_is_released() -> Mistakes:
    """A tag must match the version of Cargo.toml, which must be in the changelog."""
    version = cargo_version()
    dated, text = f"## [{version}] - 2026-11-26\n", "\n### Added\n\n- Something.\n\n## [0.0.1] - 2026-01-01\n\n- Old.\n"
    for tag, changelog, is_released in (
        (f"v{version}", dated + text, True),
        ("v9.9.9", dated + text, False),
        (version, dated + text, False),
        (f"v{version}", f"## [{version}]\n" + text, False),
        (f"v{version}", "## [Unreleased]\n" + text, False),
        (f"v{version}", dated + "\n## [0.0.1] - 2026-01-01\n\n- Old.\n", False),
    ):
        with tempfile.TemporaryDirectory() as name:
            copy = Path(name) / "scripts/release/release.py"
            copy.parent.mkdir(parents=True)
            copy.write_text(SCRIPT.read_text())
            (Path(name) / "Cargo.toml").write_text(read("Cargo.toml"))
            (Path(name) / "CHANGELOG.md").write_text(f"# Changelog\n\n{changelog}")
            done = run(sys.executable, copy, "check", tag)
            if (done.returncode == 0) != is_released or "Traceback" in done.stderr:
                yield f"release.py check {tag} exits with {done.returncode} if the changelog has {changelog!r}"

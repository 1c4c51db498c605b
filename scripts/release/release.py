#!/usr/bin/env python3
"""Builds the files of a release. The workflow `release` runs these steps, each platform on a separate machine:

    scripts/release/release.py check v0.1.0                                       checks that the tag can be released
    scripts/release/release.py build x86_64-unknown-linux-gnu target/release-files
    scripts/release/release.py push registry.example/signup-service target/release-files
    scripts/release/release.py seal target/release-files [registry.example/signup-service@sha256:…]

`build` takes the binary and its bill of materials out of the image, so that an archive and the image hold the same
file. The bill is that of scripts/notices.py, which gets the crates from Cargo and knows the C code bundled in them; an
image scanner would have to guess both from a binary. For the image, its Debian packages are added.
`seal` collects the files of all platforms in `assets`, with SHA256SUMS, and writes the predicate to be signed:
provenance.json.

To add a platform, add it to PLATFORMS and to the matrix of the workflow. `make supply-chain` runs all of this
with a stand-in for Docker.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NAME = "signup-service"
# The platforms of a release: Rust target and Docker platform.
PLATFORMS = {
    "x86_64-unknown-linux-gnu": "linux/amd64",
    "aarch64-unknown-linux-gnu": "linux/arm64",
}
# Paths in the image. The last is where distroless images list their packages.
BINARY = f"/{NAME}"
NOTICES = f"/usr/share/doc/{NAME}"
PACKAGES = "/var/lib/dpkg/status.d"
# Files beside the binary in its archive.
DOCUMENTS = ("README.md", "LICENSE-APACHE", "LICENSE-MIT")
# The build arguments for the base images of the Dockerfile.
BASES = ("BUILD_IMAGE", "RUN_IMAGE")
WORKFLOW = "https://actions.github.io/buildtypes/workflow/v1"

Document = dict[str, Any]


def version() -> str:
    """The version of the service."""
    return str(tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"])


def run(*command: str | Path) -> str:
    """The output of a command that must succeed; its standard error is passed through."""
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def revision() -> str:
    """The commit that is released."""
    return os.environ.get("GITHUB_SHA") or run("git", "rev-parse", "HEAD")


def notes() -> str:
    """The changelog section of this version; empty if there is none."""
    heading = rf"^## \[{re.escape(version())}\] - \d{{4}}-\d\d-\d\d$"
    parts = re.split(heading, (ROOT / "CHANGELOG.md").read_text(), maxsplit=1, flags=re.MULTILINE)
    return re.split(r"^## |^\[[^\]]+\]: ", parts[1], maxsplit=1, flags=re.MULTILINE)[0].strip() if parts[1:] else ""


def check(tag: str) -> None:
    """Fails unless the tag matches the version of Cargo.toml, and the changelog has that version with its date."""
    if tag != f"v{version()}":
        raise SystemExit(f"release: the tag {tag} does not match the version of Cargo.toml, {version()}")
    if not notes():
        raise SystemExit(f"release: CHANGELOG.md has no section '## [{version()}] - YYYY-MM-DD' with text")


def bases() -> dict[str, str]:
    """The base images of the Dockerfile, each by the current digest of its tag."""
    text = (ROOT / "Dockerfile").read_text()
    tags = {name: value for name, value in re.findall(r"^ARG (\w+)=(\S+)$", text, re.MULTILINE) if name in BASES}
    for tag in tags.values():
        run("docker", "pull", "--quiet", tag)
    return {
        name: run("docker", "image", "inspect", "--format", "{{index .RepoDigests 0}}", tag)
        for name, tag in tags.items()
    }


def build(target: str, folder: Path) -> None:
    """Builds the image for a target, and writes the release files for it."""
    platform = PLATFORMS[target]
    image = f"{NAME}:{version()}"
    out = folder / target
    out.mkdir(parents=True)
    built_from = bases()
    arguments = built_from | {"VERSION": version(), "REVISION": revision()}
    options = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    run("docker", "build", "--platform", platform, *options, "--tag", image, ".")
    (out / "bases.json").write_text(json.dumps(built_from))

    names = stems(target)
    with tempfile.TemporaryDirectory() as name:
        inside = Path(name)
        container = run("docker", "create", image)
        for path, to in ((BINARY, NAME), (NOTICES, "notices"), (PACKAGES, "packages")):
            run("docker", "cp", f"{container}:{path}", inside / to)
        run("docker", "rm", container)
        bill = json.loads((inside / "notices/sbom.cdx.json").read_text())
        files = [inside / NAME, *(inside / "notices").iterdir(), *map(ROOT.joinpath, DOCUMENTS)]
        archive(out / f"{names['binary']}.tar.gz", names["binary"], files)
        whole = bill_of_image(bill, packages(inside / "packages"))
    for stem, content in ((names["binary"], bill), (names["image"], whole)):
        (out / f"{stem}.cdx.json").write_text(json.dumps(content, indent=1) + "\n")
    saved = subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE)
    assert saved.stdout
    with gzip.GzipFile(out / f"{names['image']}.tar.gz", "wb", mtime=0) as packed:
        shutil.copyfileobj(saved.stdout, packed)
    if saved.wait():
        raise SystemExit(f"release: docker save {image} failed")


def stems(target: str) -> dict[str, str]:
    """The file names of a target, without suffix."""
    return {
        "binary": f"{NAME}-{version()}-{target}",
        "image": f"{NAME}-{version()}-image-{PLATFORMS[target].replace('/', '-')}",
    }


def archive(path: Path, top: str, files: list[Path]) -> None:
    """Packs files into a folder of an archive, reproducibly: the same files yield the same bytes."""
    time = int(os.environ.get("SOURCE_DATE_EPOCH") or run("git", "show", "--no-patch", "--format=%ct", revision()))

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime, member.uid, member.gid, member.uname, member.gname = time, 0, 0, "root", "root"
        member.mode = 0o755 if member.name == f"{top}/{NAME}" else 0o644
        return member

    with gzip.GzipFile(path, "wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for file in sorted(files, key=lambda file: file.name):
            tar.add(file, f"{top}/{file.name}", filter=plain)


def packages(folder: Path) -> Iterator[Document]:
    """The Debian packages of an image, as components of a bill of materials."""
    for file in sorted(folder.iterdir()):
        if file.suffix == ".md5sums":
            continue
        fields = dict(re.findall(r"^(Package|Version|Architecture): (.*)$", file.read_text(), re.MULTILINE))
        name, number = fields["Package"], fields["Version"]
        purl = f"pkg:deb/debian/{name}@{number.replace(':', '%3A')}?arch={fields['Architecture']}"
        yield {"type": "library", "bom-ref": purl, "name": name, "version": number, "purl": purl}


def bill_of_image(bill: Document, debian: Iterator[Document]) -> Document:
    """The bill of materials of the image, made from that of the binary in it."""
    below = list(debian)
    if not below:
        raise SystemExit(f"release: the image lists no packages in {PACKAGES}")
    service = bill["metadata"]["component"]
    whole = {"type": "container", "bom-ref": "image", "name": NAME, "version": service["version"]}
    components = [service, *bill["components"], *below]
    needs = sorted([service["bom-ref"], *(package["bom-ref"] for package in below)])
    return bill | {
        # Deterministic for the same content.
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(components)).urn,
        "metadata": bill["metadata"] | {"component": whole},
        "components": components,
        "dependencies": [{"ref": "image", "dependsOn": needs}, *bill["dependencies"]],
    }


def push(repository: str, folder: Path) -> None:
    """Pushes the image for each platform and a common name for them all; prints that name with its digest."""
    image, name = f"{NAME}:{version()}", f"{repository}:{version()}"
    parts = []
    for target, platform in PLATFORMS.items():
        parts.append(f"{name}-{platform.rpartition('/')[2]}")
        run("docker", "load", "--input", folder / target / f"{stems(target)['image']}.tar.gz")
        run("docker", "tag", image, parts[-1])
        run("docker", "push", "--quiet", parts[-1])
    run("docker", "buildx", "imagetools", "create", "--tag", name, *parts)
    digest = run("docker", "buildx", "imagetools", "inspect", name, "--format", "{{.Manifest.Digest}}")
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise SystemExit(f"release: {digest} is not the digest of {name}")
    print(f"{repository}@{digest}")


def seal(folder: Path, image: str) -> None:
    """Collects the files of all platforms, with their checksums, and writes their provenance."""
    assets = folder / "assets"
    assets.mkdir()
    built_from: set[str] = set()
    for target in PLATFORMS:
        for stem in stems(target).values():
            for suffix in (".tar.gz", ".cdx.json"):
                shutil.copy(folder / target / f"{stem}{suffix}", assets)
        built_from |= set(json.loads((folder / target / "bases.json").read_text()).values())
    if image:
        (assets / "image.txt").write_text(f"{image}\n")
    sums = [f"{digest(file)}  {file.name}\n" for file in sorted(assets.iterdir())]
    (assets / "SHA256SUMS").write_text("".join(sums))
    (folder / "provenance.json").write_text(json.dumps(provenance(sorted(built_from)), indent=1) + "\n")
    (folder / "notes.md").write_text(notes() + "\n")


def digest(file: Path) -> str:
    """The SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def provenance(built_from: list[str]) -> Document:
    """The provenance of the files of this workflow run: the predicate https://slsa.dev/provenance/v1."""
    env = os.environ
    repository = f"{env['GITHUB_SERVER_URL']}/{env['GITHUB_REPOSITORY']}"
    path = env["GITHUB_WORKFLOW_REF"].removeprefix(f"{env['GITHUB_REPOSITORY']}/").partition("@")[0]
    source = {"uri": f"git+{repository}@{env['GITHUB_REF']}", "digest": {"gitCommit": revision()}}
    images = [
        {"uri": f"pkg:docker/{name}@{found}", "digest": {"sha256": found.removeprefix("sha256:")}}
        for name, _, found in (base.partition("@") for base in built_from)
    ]
    return {
        "buildDefinition": {
            "buildType": WORKFLOW,
            "externalParameters": {"workflow": {"ref": env["GITHUB_REF"], "repository": repository, "path": path}},
            "internalParameters": {
                "github": {
                    "event_name": env["GITHUB_EVENT_NAME"],
                    "repository_id": env["GITHUB_REPOSITORY_ID"],
                    "repository_owner_id": env["GITHUB_REPOSITORY_OWNER_ID"],
                    "runner_environment": env["RUNNER_ENVIRONMENT"],
                }
            },
            "resolvedDependencies": [source, *images],
        },
        "runDetails": {
            "builder": {"id": f"{env['GITHUB_SERVER_URL']}/{env['GITHUB_WORKFLOW_REF']}"},
            "metadata": {
                "invocationId": f"{repository}/actions/runs/{env['GITHUB_RUN_ID']}/attempts/{env['GITHUB_RUN_ATTEMPT']}"
            },
        },
    }


def main() -> None:
    """Runs one step."""
    match sys.argv[1:]:
        case ["check", tag]:
            check(tag)
        case ["build", target, folder]:
            build(target, Path(folder).resolve())
        case ["push", repository, folder]:
            push(repository, Path(folder).resolve())
        case ["seal", folder]:
            seal(Path(folder).resolve(), "")
        case ["seal", folder, image]:
            seal(Path(folder).resolve(), image)
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main()

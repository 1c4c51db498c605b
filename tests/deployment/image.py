"""Checks of the Dockerfile, without an engine to build it."""

import fnmatch
import json
import os
import re
import shlex
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from project import (
    ROOT,
    TARGET,
    TOOLS,
    Document,
    Mistakes,
    check,
    files_below,
    read,
    run,
    settings,
    unpinned,
    version,
)

Instruction = tuple[str, str]


@cache
def dockerfile() -> list[list[Instruction]]:
    """Its instructions by stage; those before the first FROM are the first stage."""
    text = re.sub(r"^\s*#.*\n", "", read("Dockerfile"), flags=re.MULTILINE)
    stages: list[list[Instruction]] = [[]]
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            if name == "FROM":
                stages.append([])
            stages[-1].append((name, re.sub(r"\s+", " ", rest.strip())))
    return stages


def arguments(stage: list[Instruction]) -> dict[str, str]:
    """The build arguments of a stage, with their defaults."""
    return dict(rest.partition("=")[::2] for name, rest in stage if name == "ARG")


def copies(stage: list[Instruction]) -> Iterator[tuple[list[str], str]]:
    """The paths that a stage copies from the project, and their target."""
    for name, rest in stage:
        words = shlex.split(rest) if name == "COPY" else []
        if words and not any(word.startswith("--from") for word in words):
            paths = [word for word in words if not word.startswith("--")]
            yield paths[:-1], paths[-1]


def lay_out(sources: list[str], target: str, folder: Path) -> None:
    """Does the same as COPY."""
    for source in sources:
        path = ROOT / source
        if path.is_dir():
            ignored = shutil.ignore_patterns("target", "fuzz")
            shutil.copytree(path, folder / target, dirs_exist_ok=True, ignore=ignored)
        else:
            to = folder / target / path.name if target.endswith("/") else folder / target
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to)


def reaches_the_build(path: str) -> bool:
    """Whether a path is part of the build context, and so not excluded by .dockerignore."""
    reaches = True
    for line in read(".dockerignore").splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!").strip("/")
        parts = path.split("/")
        heads = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
        if pattern.startswith("**/"):
            matches = any(fnmatch.fnmatchcase(part, pattern[3:]) for part in parts)
        else:
            matches = any(
                head.count("/") == pattern.count("/") and fnmatch.fnmatchcase(head, pattern) for head in heads
            )
        if matches:
            reaches = line.startswith("!")
    return reaches


@check
def the_dockerfile_is_clean() -> Mistakes:
    """hadolint reports nothing."""
    try:
        run(TOOLS / "hadolint", "--failure-threshold", "info", "Dockerfile", ".devcontainer/Dockerfile")
    except RuntimeError as error:
        yield str(error)


@check
def the_dockerfile_copies_what_is_there() -> Mistakes:
    """Each path exists, .dockerignore does not exclude it, and the build gets all files it needs."""
    copied: set[str] = set()
    for stage in dockerfile():
        for sources, _ in copies(stage):
            for source in sources:
                files = files_below(source)
                if not files:
                    yield f"COPY names {source}, which does not exist"
                copied |= set(files)
    for file in sorted(copied):
        if not reaches_the_build(file) and not file.startswith("crates/bcrypt-lanes/fuzz/"):
            yield f".dockerignore excludes {file}, which COPY needs"
    for secret in ("deploy/compose/secrets/x", "data/signup.db", ".git/config", ".env", "target/debug/x"):
        if reaches_the_build(secret):
            yield f".dockerignore does not exclude {secret}"
    for file in (file for tree in ("src", "crates") for file in files_below(tree) if file.endswith(".rs")):
        if "/tests/" in file or "/benches/" in file or "/fuzz/" in file:
            continue
        text = (ROOT / file).read_text()
        for name in re.findall(r"include_(?:str|bytes)!\(\s*\"([^\"]+)\"", text):
            wanted = os.path.relpath((ROOT / file).parent / name, ROOT)
            if wanted not in copied:
                yield f"{file} includes {wanted}, which the Dockerfile does not copy"
        for name in re.findall(r"migrate!\(\s*\"([^\"]+)\"", text):
            if not any(path.startswith(f"{name}/") for path in copied):
                yield f"{file} embeds {name}, which the Dockerfile does not copy"


@check
def the_layer_of_dependencies_builds() -> Mistakes:
    """Runs its shell commands with a stand-in for Cargo that reads the manifests and builds nothing."""
    build = dockerfile()[1]
    first = next(index for index, (name, _) in enumerate(build) if name == "RUN")
    recipes = [rest for name, rest in build if name == "RUN"]
    toolchain = tomllib.loads(read("rust-toolchain.toml"))["toolchain"]["channel"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tree = folder / "build"
        tree.mkdir()
        for sources, target in copies(build[:first]):
            lay_out(sources, target, tree)
        calls = folder / "calls"
        cargo = shutil.which("cargo")
        shim = folder / "bin" / "cargo"
        shim.parent.mkdir()
        shim.write_text(
            f'#!/bin/sh\necho "$@" >> {calls}\n'
            f'[ "$1" = clean ] && exit 0\n'
            # Only this reads all manifests like a build.
            f"{cargo} fetch --locked --target {TARGET} || exit 1\n"
            f"exec {cargo} metadata --offline --locked --format-version 1"
            f" --filter-platform {TARGET} > {folder}/metadata\n"
        )
        shim.chmod(0o755)
        # A linked toolchain can't be selected by version.
        env = os.environ | {"PATH": f"{shim.parent}:{os.environ['PATH']}"}
        if toolchain in run("rustup", "toolchain", "list"):
            env["RUSTUP_TOOLCHAIN"] = toolchain
        try:
            run("/bin/sh", "-c", recipes[0], cwd=tree, env=env)
        except RuntimeError as error:
            yield f"the layer of dependencies does not build: {error}"
            return
        metadata = json.loads((folder / "metadata").read_text())
        commands = [line.split() for line in calls.read_text().splitlines()]
        stubs = {str(path.relative_to(tree)) for path in tree.rglob("*.rs")}
        for sources, target in copies(build[first:]):
            lay_out(sources, target, tree)

        builds = [command for command in commands if command[0] == "build"]
        if len(builds) != 1 or f"cargo {' '.join(builds[0])}" not in recipes[1]:
            yield "the two builds of the Dockerfile differ, so the second can't use the first"
        cleaned = {
            command[at + 1]
            for command in commands
            if command[0] == "clean"
            for at, word in enumerate(command)
            if word == "--package"
        }
        built = set(workspace_packages(metadata))
        if cleaned != built:
            yield f"built from empty sources: {sorted(built)}; removed: {sorted(cleaned)}"
        for stub in sorted(stubs):
            if not (ROOT / stub).exists():
                yield f"the empty source {stub} stays, as there is no such file"
        for package in metadata["packages"]:
            for wanted in package["targets"]:
                path = Path(wanted["src_path"])
                if package["name"] in built and {"lib", "bin", "custom-build"} & set(wanted["kind"]):
                    source = path.relative_to(tree)
                    if not path.is_file() or path.read_text() != read(str(source)):
                        yield f"{source} is missing from the build"


def workspace_packages(metadata: Document) -> Iterator[str]:
    """The workspace packages in the binary, including its own."""
    names = {package["id"]: package["name"] for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    todo = [package for package in metadata["workspace_members"] if names[package] == "signup-service"]
    seen = set()
    while todo:
        package = todo.pop()
        if package in seen or package not in metadata["workspace_members"]:
            continue
        seen.add(package)
        yield names[package]
        for dependency in nodes[package]["deps"]:
            if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
                todo.append(dependency["pkg"])


@check
def the_image_is_minimal() -> Mistakes:
    """Pinned images of one Debian release, no root, no shell, and a working health check."""
    head, *_, last = dockerfile()
    images = arguments(head)
    for image in images.values():
        yield from filter(None, [unpinned(image)])
    toolchain = tomllib.loads(read("rust-toolchain.toml"))["toolchain"]["channel"]
    releases = {"bookworm": "debian12", "trixie": "debian13"}
    if not images["BUILD_IMAGE"].startswith(f"rust:{toolchain}-"):
        yield f"the build image does not have Rust {toolchain}"
    if releases[images["BUILD_IMAGE"].rpartition("-")[2]] not in images["RUN_IMAGE"]:
        yield "the build image and the service image have different Debian releases"
    if arguments(last).get("VERSION") != version():
        yield f"the version in the Dockerfile is not {version()}, as Cargo.toml says"
    found = {name: rest for name, rest in last if name not in ("COPY", "ARG", "ENV", "LABEL")}
    if "RUN" in found or "ADD" in found:
        yield "the image of the service has no shell to RUN anything"
    if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", found.get("USER", "")):
        yield "the image does not run as a numeric non-root user"
    if found.get("STOPSIGNAL") != "SIGTERM" or "SignalKind::terminate()" not in read("src/lifecycle.rs"):
        yield "STOPSIGNAL is not a signal that shuts the service down"
    for name in ("ENTRYPOINT", "CMD"):
        if not found.get(name, "").startswith("["):
            yield f"{name} is not in exec form"
    if image_health_check() != ["/signup-service", "healthcheck"]:
        yield "HEALTHCHECK is not `signup-service healthcheck` in exec form"
    if json.loads(found["ENTRYPOINT"]) != ["/signup-service"]:
        yield "ENTRYPOINT is not the service"
    if (
        found.get("VOLUME") != "/data"
        or found.get("WORKDIR") != "/"
        or "data/signup.db" not in settings()["DATABASE_URL"]
    ):
        yield "the default database is not in the volume"


def image_health_check() -> list[str]:
    """The health check command of the image."""
    rest = next(rest for name, rest in dockerfile()[-1] if name == "HEALTHCHECK")
    command: list[str] = json.loads(rest.partition("CMD ")[2])
    return command


def image_user() -> int:
    """The user of the image."""
    return int(next(rest for name, rest in dockerfile()[-1] if name == "USER").partition(":")[0])

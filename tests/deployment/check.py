"""Checks what the service is deployed with: Dockerfile, docker-compose.yml, deploy/.

    make check-deployment

Needs no Docker engine and no cluster. `live.py` beside this file runs the same service, database, Redis
and proxy as processes. A new check is a function with `@check`: it yields a line for each mistake.
"""

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
TOOLS = Path(sys.executable).parent
KUBERNETES = "1.37"
BINARY = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "debug" / "signup-service"
# For which the crates are looked at: those of other systems may not be on this machine.
TARGET = "x86_64-unknown-linux-gnu"
# What the service takes at most to close its connections, after the grace period.
CLOSE_MS = 5000
# What PostgreSQL takes if nobody says more.
POSTGRES_CONNECTIONS = 100

Mistakes = Iterator[str]
Document = dict[str, Any]
CHECKS: list[Callable[[], Mistakes]] = []


def check(function: Callable[[], Mistakes]) -> Callable[[], Mistakes]:
    """Makes a function a check."""
    CHECKS.append(function)
    return function


def run(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    """The standard output of a command that must succeed."""
    done = subprocess.run(command, cwd=cwd, env=env, text=True, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def read(path: str) -> str:
    """A file of the project."""
    return (ROOT / path).read_text()


@cache
def version() -> str:
    """The version of the service."""
    return str(tomllib.loads(read("Cargo.toml"))["package"]["version"])


# ---- the settings ----------------------------------------------------------------------------------


@cache
def settings() -> dict[str, str]:
    """Each setting of docs/settings.md, with its default."""
    rows = re.findall(r"^\| `([A-Z_]+)`[^|]*\|[^|]*\| (.*?) \|", read("docs/settings.md"), re.MULTILINE)
    return {name: default.strip("`") for name, default in rows}


@cache
def secret_settings() -> set[str]:
    """The settings whose value is never shown, as the table in the source marks them."""
    return set(re.findall(r"secret\(\w+\(\s*\"([A-Z_]+)\"", read("src/config/table.rs")))


def is_known(name: str) -> bool:
    """Whether the service reads this variable."""
    of_file = name.removesuffix("_FILE")
    return (
        name in settings()
        or (of_file != name and of_file in secret_settings())
        or re.fullmatch(r"OTEL_[A-Z_]+", name) is not None
    )


def setting_ms(environment: dict[str, str], name: str) -> int:
    """A time that is set here, or its default."""
    return int(environment.get(name) or settings()[name])


def stop_ms(environment: dict[str, str]) -> int:
    """How long the service takes to stop, at most."""
    return setting_ms(environment, "SHUTDOWN_DELAY_MS") + setting_ms(environment, "SHUTDOWN_GRACE_MS") + CLOSE_MS


@check
def settings_are_found() -> Mistakes:
    """The two look-ups above find what they look for."""
    if len(settings()) < 20 or settings().get("PORT") != "8000":
        yield "docs/settings.md has no table of settings as it is looked for"
    known = {"DATABASE_URL", "DATABASE_READ_URL", "REDIS_URL", "IDEMPOTENCY_SECRET", "IDEMPOTENCY_SECRET_PREVIOUS"}
    if not known <= secret_settings():
        yield "src/config/table.rs marks no secrets as they are looked for"


# ---- images ----------------------------------------------------------------------------------------


def unpinned(image: str) -> str | None:
    """What is wrong with the tag of an image."""
    tag = image.rpartition("/")[2].partition(":")[2]
    if "@sha256:" in image:
        return None
    # Distroless has no versions; the release of Debian is in the name.
    if re.fullmatch(r"gcr\.io/distroless/cc-debian\d+:nonroot", image):
        return None
    if not re.match(r"v?\d+\.\d+(\.\d+)?(-|$)", tag):
        return f"the image {image} is not pinned to a version"
    if image.partition(":")[0].endswith("signup-service") and tag != version():
        return f"the image {image} is not of version {version()}, as Cargo.toml says"
    return None


# ---- the Dockerfile --------------------------------------------------------------------------------

Instruction = tuple[str, str]


@cache
def dockerfile() -> list[list[Instruction]]:
    """Its instructions, by stage; what is before the first FROM is the first stage."""
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
    """What a stage copies from the project, and where to."""
    for name, rest in stage:
        words = shlex.split(rest) if name == "COPY" else []
        if words and not any(word.startswith("--from") for word in words):
            paths = [word for word in words if not word.startswith("--")]
            yield paths[:-1], paths[-1]


def lay_out(sources: list[str], target: str, folder: Path) -> None:
    """Does what COPY does."""
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
    """Whether .dockerignore lets a path through."""
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


def files_below(path: str) -> list[str]:
    """The files that git knows in a folder, or the file itself."""
    return run("git", "ls-files", "--cached", "--others", "--exclude-standard", "--", path).splitlines()


@check
def the_dockerfile_is_clean() -> Mistakes:
    """hadolint has nothing to say."""
    try:
        run(TOOLS / "hadolint", "--failure-threshold", "info", "Dockerfile")
    except RuntimeError as error:
        yield str(error)


@check
def the_dockerfile_copies_what_is_there() -> Mistakes:
    """Each path exists, .dockerignore lets it through, and the build gets all that it needs."""
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
            yield f".dockerignore hides {file}, which COPY needs"
    for secret in ("deploy/compose/secrets/x", "data/signup.db", ".git/config", ".env", "target/debug/x"):
        if reaches_the_build(secret):
            yield f".dockerignore lets {secret} through"
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
    """Runs its shell with a Cargo that looks at the manifests and builds nothing."""
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
        said = folder / "said"
        cargo = shutil.which("cargo")
        shim = folder / "bin" / "cargo"
        shim.parent.mkdir()
        shim.write_text(
            f'#!/bin/sh\necho "$@" >> {said}\n'
            f'[ "$1" = clean ] && exit 0\n'
            # Only this reads all of the manifests as a build does.
            f"{cargo} fetch --locked --target {TARGET} || exit 1\n"
            f"exec {cargo} metadata --offline --locked --format-version 1"
            f" --filter-platform {TARGET} > {folder}/metadata\n"
        )
        shim.chmod(0o755)
        # A linked toolchain has no number by which it could be asked for.
        env = os.environ | {"PATH": f"{shim.parent}:{os.environ['PATH']}"}
        if toolchain in run("rustup", "toolchain", "list"):
            env["RUSTUP_TOOLCHAIN"] = toolchain
        try:
            run("/bin/sh", "-c", recipes[0], cwd=tree, env=env)
        except RuntimeError as error:
            yield f"the layer of dependencies does not build: {error}"
            return
        metadata = json.loads((folder / "metadata").read_text())
        commands = [line.split() for line in said.read_text().splitlines()]
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
            yield f"what was built of empty sources is {sorted(built)}, and what is removed {sorted(cleaned)}"
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
    """The packages of the workspace that the binary is made of, itself included."""
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
    """Pinned, of one Debian, not root, no shell, and with a health check that is there."""
    head, *_, last = dockerfile()
    images = arguments(head)
    for image in images.values():
        yield from filter(None, [unpinned(image)])
    toolchain = tomllib.loads(read("rust-toolchain.toml"))["toolchain"]["channel"]
    releases = {"bookworm": "debian12", "trixie": "debian13"}
    if not images["BUILD_IMAGE"].startswith(f"rust:{toolchain}-"):
        yield f"the image of the build is not of Rust {toolchain}"
    if releases[images["BUILD_IMAGE"].rpartition("-")[2]] not in images["RUN_IMAGE"]:
        yield "the images of the build and of the service are of different releases of Debian"
    if arguments(last).get("VERSION") != version():
        yield f"the version in the Dockerfile is not {version()}, as Cargo.toml says"
    said = {name: rest for name, rest in last if name not in ("COPY", "ARG", "ENV", "LABEL")}
    if "RUN" in said or "ADD" in said:
        yield "the image of the service has no shell to RUN anything"
    if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", said.get("USER", "")):
        yield "the image does not run as a user by number who is not root"
    if said.get("STOPSIGNAL") != "SIGTERM" or "SignalKind::terminate()" not in read("src/lifecycle.rs"):
        yield "STOPSIGNAL is not a signal that stops the service in order"
    for name in ("ENTRYPOINT", "CMD"):
        if not said.get(name, "").startswith("["):
            yield f"{name} is not in exec form"
    if image_health_check() != ["/signup-service", "healthcheck"]:
        yield "HEALTHCHECK is not `signup-service healthcheck` in exec form"
    if json.loads(said["ENTRYPOINT"]) != ["/signup-service"]:
        yield "ENTRYPOINT is not the service"
    if said.get("VOLUME") != "/data" or said.get("WORKDIR") != "/" or "data/signup.db" not in settings()["DATABASE_URL"]:
        yield "the default database is not in the volume"


def image_health_check() -> list[str]:
    """The command that the image is checked by."""
    rest = next(rest for name, rest in dockerfile()[-1] if name == "HEALTHCHECK")
    command: list[str] = json.loads(rest.partition("CMD ")[2])
    return command


def image_user() -> int:
    """The user of the image."""
    return int(next(rest for name, rest in dockerfile()[-1] if name == "USER").partition(":")[0])


# ---- Compose ---------------------------------------------------------------------------------------


@cache
def compose(*profiles: str) -> Document:
    """docker-compose.yml as Compose understands it."""
    options = [word for profile in profiles for word in ("--profile", profile)]
    # What stands in for a variable is looked for in the file alone.
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    command = (TOOLS / "docker-compose", "--file", "docker-compose.yml", "--env-file", "/dev/null", *options, "config")
    run(*command, "--quiet", env=env)
    document: Document = json.loads(run(*command, "--format", "json", env=env))
    return document


def services() -> dict[str, Document]:
    """All services."""
    found: dict[str, Document] = compose("load")["services"]
    return found


def once(service: Document) -> bool:
    """Whether a service runs to its end."""
    return bool(service.get("restart") == "no")


def environment(service: Document) -> dict[str, str]:
    """The variables of a service."""
    return {name: str(value) for name, value in (service.get("environment") or {}).items()}


@check
def compose_has_every_service() -> Mistakes:
    """All of them, and the load only if it is asked for."""
    wanted = {"app", "postgres", "redis", "jaeger", "prometheus", "grafana", "migrate"}
    default = set(compose()["services"])
    if wanted - default:
        yield f"docker-compose.yml lacks {sorted(wanted - default)}"
    if set(services()) - default != {"load"}:
        yield "the profile `load` does not add the service `load` alone"
    if {name for name, service in services().items() if once(service)} != {"migrate", "grants", "load"}:
        yield "migrate, grants and load must be those that run once"


@check
def compose_services_are_bounded_and_healthy() -> Mistakes:
    """Pinned, limited, with a health check, waiting for the health of others."""
    for name, service in services().items():
        yield from (f"{name}: {mistake}" for mistake in filter(None, [unpinned(service["image"])]))
        limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
        if not {"cpus", "memory"} <= set(limits):
            yield f"{name} has no limits of CPU and memory"
        health = service.get("healthcheck", {})
        if once(service):
            if health:
                yield f"{name} runs once, and has a health check that nobody asks"
        elif len(health.get("test", [])) < 2 or health["test"][0] != "CMD" or health.get("disable"):
            yield f"{name} has no health check"
        if "container_name" in service:
            yield f"{name} has a fixed name, so there can be only one of it"
        for other, how in (service.get("depends_on") or {}).items():
            ended = "service_completed_successfully" if once(services()[other]) else "service_healthy"
            if how["condition"] != ended:
                yield f"{name} does not wait for {other} to be {ended}"
        for port in service.get("ports", []):
            if port.get("host_ip") != "127.0.0.1":
                yield f"{name} listens beyond the loopback of the machine"
        for volume in service.get("volumes", []):
            source = Path(volume["source"])
            if volume["type"] != "bind":
                if volume["source"] not in compose()["volumes"]:
                    yield f"{name}: the volume {volume['source']} has no name"
            elif not source.exists():
                yield f"{name} mounts {source.relative_to(ROOT)}, which does not exist"
            elif not volume.get("read_only"):
                yield f"{name} may write to {source.relative_to(ROOT)}"


@check
def compose_runs_the_image() -> Mistakes:
    """The service is locked in, can be scaled, and stops in order."""
    for name in ("app", "migrate"):
        service = services()[name]
        if not service.get("read_only"):
            yield f"{name} may write to its root"
        if service.get("cap_drop") != ["ALL"] or "cap_add" in service:
            yield f"{name} keeps capabilities"
        if "no-new-privileges:true" not in service.get("security_opt", []):
            yield f"{name} may gain privileges"
        if "user" in service or service.get("privileged"):
            yield f"{name} does not run as the user of the image"
        for variable in environment(service):
            if not is_known(variable):
                yield f"{name}: the service does not know {variable}"
    app = services()["app"]
    if app.get("ports"):
        yield "app has a port of the machine, so there can be only one of it"
    if app["deploy"]["replicas"] < 2:
        yield "app has one replica"
    if app["healthcheck"]["test"][1:] != image_health_check():
        yield "app is not checked as the image is"
    if seconds(app.get("stop_grace_period", "10s")) * 1000 < stop_ms(environment(app)):
        yield "app is killed before it has stopped in order"
    if set(app["depends_on"]) < {"postgres", "redis", "grants"} or "migrate" not in services()["grants"]["depends_on"]:
        yield "app does not wait for its database, its tables, its user and Redis"
    if "prometheus" in app["depends_on"] or "jaeger" in app["depends_on"]:
        yield "app waits for those who watch it"


def seconds(text: str) -> float:
    """A duration as Compose writes it."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)([hms])", text))


@check
def compose_agrees_with_the_rest() -> Mistakes:
    """Prometheus finds the service, Locust is the one of its list, and the proxy asks what there is."""
    scrapes = yaml.safe_load(read("prometheus.yml"))["scrape_configs"]
    found = [found for scrape in scrapes for found in scrape.get("dns_sd_configs", [])]
    port = int(settings()["PORT"])
    if not any(entry["names"] == ["app"] and entry["port"] == port and entry["type"] == "A" for entry in found):
        yield f"prometheus.yml does not look for app, port {port}"
    for a, b in (("app", "prometheus"), ("app", "jaeger"), ("app", "proxy"), ("app", "postgres"), ("app", "redis"), ("grafana", "prometheus")):
        if not set(services()[a]["networks"]) & set(services()[b]["networks"]):
            yield f"{a} and {b} have no network in common"
    if set(services()["postgres"]["networks"]) != {"data"} or not compose()["networks"]["data"].get("internal"):
        yield "the network of the database leads outside"
    mounts = {volume["target"]: volume["source"] for volume in services()["prometheus"]["volumes"]}
    for rules in yaml.safe_load(read("prometheus.yml"))["rule_files"]:
        folder, _, name = str(Path("/etc/prometheus") / rules).rpartition("/")
        if not (Path(mounts.get(folder, "/nowhere")) / name).exists():
            yield f"prometheus.yml names {rules}, which is not mounted there"
    for provider in yaml.safe_load(next((ROOT / "deploy/grafana/provisioning/dashboards").glob("*.y*ml")).read_text())["providers"]:
        targets = {volume["target"] for volume in services()["grafana"]["volumes"]}
        if provider["options"]["path"] not in targets:
            yield f"Grafana looks for dashboards in {provider['options']['path']}, where none are mounted"
    wanted = re.search(r"^locust==(\S+)", read("locust/requirements.txt"), re.MULTILINE)
    if not wanted or services()["load"]["image"] != f"locustio/locust:{wanted[1]}":
        yield "the image of Locust is not the version of locust/requirements.txt"
    if services()["load"]["network_mode"] != "service:proxy":
        yield "load does not share the loopback of the proxy"
    proxy = read("deploy/compose/haproxy.cfg")
    if f"app:{port} " not in proxy or "uri /ready" not in proxy or "set-header X-Forwarded-For %[src]" not in proxy:
        yield "haproxy.cfg does not send to app what the service expects"
    listens, path = re.search(r"frontend health\s+bind (\S+)", proxy), re.search(r"monitor-uri (\S+)", proxy)
    if not listens or not path or services()["proxy"]["healthcheck"]["test"][-1] != f"http://{listens[1]}{path[1]}":
        yield "proxy is not checked where haproxy.cfg answers"


# ---- secrets ---------------------------------------------------------------------------------------


def make_secrets(folder: Path) -> dict[str, str]:
    """Runs the script, and gives what it has made."""
    run("scripts/compose-secrets.sh", folder)
    return {path.name: path.read_text() for path in folder.iterdir()}


@check
def secrets_are_made_at_random_and_kept() -> Mistakes:
    """Each is a file that its container can read and nobody else on the machine."""
    with tempfile.TemporaryDirectory() as name:
        one, other = Path(name, "one"), Path(name, "other")
        first, again, second = make_secrets(one), make_secrets(one), make_secrets(other)
        if first != again:
            yield "compose-secrets.sh changes secrets that are there"
        for name, value in first.items():
            if value == second[name] or not re.search("[0-9a-f]{64}", value):
                yield f"the secret {name} is not random"
        if one.stat().st_mode & 0o777 != 0o700:
            yield "others may enter the folder of the secrets"
        for path in one.iterdir():
            if path.stat().st_mode & 0o777 != 0o444:
                yield f"the secret {path.name} can't be read by its container, or can be written"
        wanted = {Path(secret["file"]).name for secret in compose("load")["secrets"].values()}
        made = {name for name in first if name != "redis_password"}
        if wanted != made:
            yield f"Compose wants {sorted(wanted - made)} more than is made, and {sorted(made - wanted)} less"
        folders = {Path(secret["file"]).parent for secret in compose("load")["secrets"].values()}
        if folders != {ROOT / "deploy/compose/secrets"}:
            yield "the secrets of Compose are not in deploy/compose/secrets"


@check
def secrets_are_given_by_file() -> Mistakes:
    """No variable has a secret in it, and each secret that a variable names is there."""
    for name, service in services().items():
        given = {secret["source"] for secret in service.get("secrets", [])}
        for variable, value in environment(service).items():
            if re.search(r"(PASSWORD|SECRET|TOKEN|DATABASE_URL|REDIS_URL)$", variable):
                yield f"{name} has the secret {variable} in its environment"
            if variable.endswith("_FILE") and value.removeprefix("/run/secrets/") not in given:
                yield f"{name}: {variable} names a secret that it is not given"
        text = json.dumps([service.get("command"), service.get("entrypoint")])
        for secret in re.findall(r"/run/secrets/(\w+)", text):
            if secret not in given:
                yield f"{name} reads the secret {secret}, which it is not given"


@check
def no_secret_is_committed() -> Mistakes:
    """Nothing in the repository looks like one."""
    if run("git", "ls-files", "deploy/compose/secrets"):
        yield "secrets are committed"
    if subprocess.run(["git", "check-ignore", "--quiet", "deploy/compose/secrets/x"], cwd=ROOT, check=False).returncode:
        yield "git does not ignore deploy/compose/secrets"
    looks = re.compile(
        r"[0-9a-f]{32,}|BEGIN [A-Z ]*PRIVATE KEY|(?:postgres|redis)s?://[^\s:/@]+:[^\s:/@$…<>]+@", re.IGNORECASE
    )
    for file in ("Dockerfile", "docker-compose.yml", "prometheus.yml", *files_below("deploy"), *files_below("scripts")):
        for line in (ROOT / file).read_text().splitlines():
            if looks.search(line) and "$(" not in line:
                yield f"{file} has what looks like a secret: {line.strip()[:40]}"


@check
def grants_are_those_of_the_documents() -> Mistakes:
    """SECURITY.md says what the users of the service may do."""

    def grants(text: str) -> list[str]:
        return re.findall(r"GRANT [^;]+;", text)

    if grants(read("deploy/postgres/grants.sql")) != grants(read("SECURITY.md")):
        yield "deploy/postgres/grants.sql does not grant what SECURITY.md says"
    documented = re.search(r"ACL SETUSER signup on >\S+ (.*)", read("SECURITY.md"))
    with tempfile.TemporaryDirectory() as name:
        made = re.search(r"user signup on >\S+ (.*)", make_secrets(Path(name, "s"))["redis_users"])
    if not documented or not made:
        yield "there is no user of Redis to compare"
    elif set(documented[1].split()) | {"resetchannels", "-@all"} != set(made[1].split()):
        yield "compose-secrets.sh lets the user of Redis do something else than SECURITY.md"


# ---- Kubernetes ------------------------------------------------------------------------------------

BASE = "deploy/kubernetes/base"
PRODUCTION = "deploy/kubernetes/overlays/production"


@cache
def rendered(folder: str) -> list[Document]:
    """What kustomize makes of a folder."""
    return list(yaml.safe_load_all(run(TOOLS / "kubectl", "kustomize", folder)))


def both() -> Iterator[tuple[str, list[Document]]]:
    """The base and the overlay, each with its name."""
    for folder in (BASE, PRODUCTION):
        yield folder.rpartition("/")[2], rendered(folder)


def kind(documents: Iterable[Document], name: str) -> list[Document]:
    """The documents of a kind."""
    return [document for document in documents if document["kind"] == name]


def one(documents: Iterable[Document], name: str) -> Document:
    """The only document of a kind."""
    (document,) = kind(documents, name)
    return document


def selects(selector: Document, labels: Document) -> bool:
    """Whether a selector of labels means something with these."""
    wanted = selector.get("matchLabels", {})
    return bool(wanted) and set(selector) == {"matchLabels"} and wanted.items() <= labels.items()


def workloads(documents: Iterable[Document]) -> list[Document]:
    """Deployments and Jobs."""
    return [document for document in documents if document["kind"] in ("Deployment", "Job")]


def pod(workload: Document) -> Document:
    """The pod of a workload."""
    spec: Document = workload["spec"]["template"]["spec"]
    return spec


def labels(workload: Document) -> dict[str, str]:
    """The labels of the pods of a workload."""
    found: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return found


def pod_environment(documents: list[Document], workload: Document) -> dict[str, str]:
    """The variables of its container that are not secret."""
    (container,) = pod(workload)["containers"]
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        name = source["configMapRef"]["name"]
        for settings_map in kind(documents, "ConfigMap"):
            if settings_map["metadata"]["name"] == name:
                found |= settings_map["data"]
    return found | {entry["name"]: entry["value"] for entry in container.get("env", []) if "value" in entry}


@check
def manifests_are_valid() -> Mistakes:
    """Each by the schema of its kind, without a field that the schema does not have."""
    for where, documents in both():
        wanted = {
            "ConfigMap", "Deployment", "HorizontalPodAutoscaler", "Ingress", "Job", "NetworkPolicy",
            "PodDisruptionBudget", "PrometheusRule", "Service", "ServiceAccount", "ServiceMonitor",
        }  # fmt: skip
        missing = wanted - {document["kind"] for document in documents}
        if missing:
            yield f"{where} lacks {sorted(missing)}"
        for document in documents:
            name = f"{where}: {document['kind']} {document['metadata']['name']}"
            if "." in document["apiVersion"].partition("/")[0] and document["apiVersion"].startswith("monitoring.coreos.com"):
                schema = json.loads((HERE / "schemas" / f"{document['kind']}.json").read_text())
                for error in jsonschema.Draft202012Validator(schema).iter_errors(document):
                    yield f"{name}: {error.json_path}: {error.message[:200]}"
                continue
            try:
                kubernetes_validate.validate(document, KUBERNETES, strict=True)
            except kubernetes_validate.ValidationError as error:
                path = ".".join(str(part) for part in error.path)
                yield f"{name}: {path}: {error.message[:200]}"


@check
def the_prometheus_rule_is_fresh() -> Mistakes:
    """It has the groups of deploy/prometheus/rules.yml."""
    file = f"{BASE}/prometheusrule.yaml"
    if run("scripts/prometheus-rule.sh") != read(file):
        yield f"{file} is stale: say `make docs`"
    groups = yaml.safe_load(read("deploy/prometheus/rules.yml"))["groups"]
    for where, documents in both():
        if one(documents, "PrometheusRule")["spec"]["groups"] != groups:
            yield f"{where}: the PrometheusRule has other groups than deploy/prometheus/rules.yml"


@check
def pods_are_locked_in() -> Mistakes:
    """As the profile `restricted` has it and more, with limits and a pinned image."""
    for where, documents in both():
        for workload in workloads(documents):
            name = f"{where}: {workload['kind']}"
            spec = pod(workload)
            (container,) = spec["containers"]
            user, inside = spec.get("securityContext", {}), container.get("securityContext", {})
            if user.get("runAsNonRoot") is not True or user.get("runAsUser") != image_user():
                yield f"{name} does not run as the user of the image"
            if user.get("seccompProfile") != {"type": "RuntimeDefault"}:
                yield f"{name} has no seccomp profile"
            if inside.get("allowPrivilegeEscalation") is not False or inside.get("privileged"):
                yield f"{name} may gain privileges"
            if inside.get("readOnlyRootFilesystem") is not True:
                yield f"{name} may write to its root"
            if inside.get("capabilities") != {"drop": ["ALL"]}:
                yield f"{name} keeps capabilities"
            if any(spec.get(field) for field in ("hostNetwork", "hostPID", "hostIPC", "volumes", "initContainers")):
                yield f"{name} has something of the host, volumes or other containers, which nobody has checked"
            if spec.get("automountServiceAccountToken") is not False:
                yield f"{name} has a token of the cluster"
            accounts = {account["metadata"]["name"]: account for account in kind(documents, "ServiceAccount")}
            account = accounts.get(spec.get("serviceAccountName", ""), {})
            if account.get("automountServiceAccountToken") is not False:
                yield f"{name} has no ServiceAccount without a token"
            if spec.get("enableServiceLinks") is not False:
                yield f"{name} gets variables for each Service"
            for bound in ("requests", "limits"):
                if not {"cpu", "memory"} <= set(container.get("resources", {}).get(bound, {})):
                    yield f"{name} has no {bound}"
            yield from (f"{name}: {mistake}" for mistake in filter(None, [unpinned(container["image"])]))
    (namespace,) = kind(rendered(PRODUCTION), "Namespace")
    if namespace["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") != "restricted":
        yield "production: the namespace does not ask for restricted pods"
    for document in rendered(PRODUCTION):
        where = document["metadata"].get("namespace")
        if document["kind"] != "Namespace" and where != namespace["metadata"]["name"]:
            yield f"production: {document['kind']} is in the namespace {where}"


@check
def the_deployment_serves_in_order() -> Mistakes:
    """Probes, time to stop, replicas and connections."""
    for where, documents in both():
        deployment = one(documents, "Deployment")
        (container,) = pod(deployment)["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        env = pod_environment(documents, deployment)
        if ports.get("http") != int(env.get("PORT", settings()["PORT"])) or env.get("HOST") != "0.0.0.0":
            yield f"{where}: the service does not listen on the port of its container"
        for probe, path in (("startupProbe", "/health"), ("livenessProbe", "/health"), ("readinessProbe", "/ready")):
            if container.get(probe, {}).get("httpGet") != {"path": path, "port": "http"}:
                yield f"{where}: the {probe} does not ask {path}"
        if pod(deployment).get("terminationGracePeriodSeconds", 30) * 1000 < stop_ms(env):
            yield f"{where}: the pod is killed before it has stopped in order"
        if setting_ms(env, "SHUTDOWN_DELAY_MS") < 2000 and "lifecycle" not in container:
            yield f"{where}: the pod stops before the cluster has noticed"
        if "replicas" in deployment["spec"]:
            yield f"{where}: the Deployment and the HorizontalPodAutoscaler both say how many"
        scaler = one(documents, "HorizontalPodAutoscaler")
        target = scaler["spec"]["scaleTargetRef"]
        if (target["kind"], target["name"]) != ("Deployment", deployment["metadata"]["name"]):
            yield f"{where}: the HorizontalPodAutoscaler scales something else"
        if [metric["resource"]["name"] for metric in scaler["spec"]["metrics"]] != ["cpu"]:
            yield f"{where}: the HorizontalPodAutoscaler does not go by CPU"
        if scaler["spec"]["minReplicas"] < 2:
            yield f"{where}: one pod is not enough"
        surge = deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
        connections = 2 * int(env.get("DATABASE_MAX_CONNECTIONS", settings()["DATABASE_MAX_CONNECTIONS"]))
        if (scaler["spec"]["maxReplicas"] + surge) * connections >= POSTGRES_CONNECTIONS:
            yield f"{where}: all pods together take more connections than PostgreSQL has"
        if {spread["topologyKey"] for spread in pod(deployment).get("topologySpreadConstraints", [])} != {
            "kubernetes.io/hostname", "topology.kubernetes.io/zone",
        }:  # fmt: skip
            yield f"{where}: the pods are not spread over nodes and zones"


@check
def selectors_match() -> Mistakes:
    """What selects pods selects those that it is meant for, and no others."""
    for where, documents in both():
        deployment, job = one(documents, "Deployment"), one(documents, "Job")
        budget, service = one(documents, "PodDisruptionBudget"), one(documents, "Service")
        monitor = one(documents, "ServiceMonitor")
        selectors = {
            "the Deployment": deployment["spec"]["selector"],
            "the PodDisruptionBudget": budget["spec"]["selector"],
            "the Service": {"matchLabels": service["spec"]["selector"]},
        }
        for index, spread in enumerate(pod(deployment)["topologySpreadConstraints"]):
            selectors[f"topology spread {index}"] = spread["labelSelector"]
        for name, selector in selectors.items():
            if not selects(selector, labels(deployment)):
                yield f"{where}: {name} does not select the pods of the Deployment"
            if selects(selector, labels(job)):
                yield f"{where}: {name} selects the pods of the Job"
        if not selects(monitor["spec"]["selector"], service["metadata"]["labels"]):
            yield f"{where}: the ServiceMonitor does not select the Service"
        ports = {port["name"]: port["targetPort"] for port in service["spec"]["ports"]}
        for endpoint in monitor["spec"]["endpoints"]:
            if endpoint["port"] not in ports or endpoint["path"] != "/metrics":
                yield f"{where}: the ServiceMonitor asks a port or path that there is not"
        (container,) = pod(deployment)["containers"]
        if not set(ports.values()) <= {port["name"] for port in container["ports"]}:
            yield f"{where}: the Service leads to a port that there is not"
        for rule in one(documents, "Ingress")["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                if backend["name"] != service["metadata"]["name"] or backend["port"]["name"] not in ports:
                    yield f"{where}: the Ingress leads to a Service or port that there is not"


@check
def the_network_is_closed() -> Mistakes:
    """Each pod has a policy, and the world reaches only what needs no authentication."""
    for where, documents in both():
        policies = kind(documents, "NetworkPolicy")
        for workload in workloads(documents):
            mine = [policy for policy in policies if selects(policy["spec"]["podSelector"], labels(workload))]
            if len(mine) != 1 or set(mine[0]["spec"]["policyTypes"]) != {"Ingress", "Egress"}:
                yield f"{where}: the {workload['kind']} has not one policy for both ways"
                continue
            out = {port["port"] for rule in mine[0]["spec"]["egress"] for port in rule["ports"]}
            wanted = {53, 5432} | ({6379, 4317, 4318} if workload["kind"] == "Deployment" else set())
            if out != wanted:
                yield f"{where}: the {workload['kind']} may talk to the ports {sorted(out)}"
            inside = mine[0]["spec"].get("ingress", [])
            if any(not rule.get("from") or not rule.get("ports") for rule in inside):
                yield f"{where}: everybody may talk to the {workload['kind']}"
            if len(inside) != (2 if workload["kind"] == "Deployment" else 0):
                yield f"{where}: others than the ingress controller and Prometheus may talk to the {workload['kind']}"
        ingress = one(documents, "Ingress")["spec"]
        paths = {(path["path"], path["pathType"]) for rule in ingress["rules"] for path in rule["http"]["paths"]}
        if paths != {
            ("/signup", "Exact"), ("/health", "Exact"), ("/openapi.json", "Exact"),
            ("/docs", "Prefix"), ("/problems", "Prefix"),
        }:  # fmt: skip
            yield f"{where}: the Ingress shows the paths {sorted(path for path, _ in paths)}"
        hosts = {rule.get("host") for rule in ingress["rules"]}
        if not all(hosts) or hosts != {host for tls in ingress.get("tls", []) for host in tls["hosts"]}:
            yield f"{where}: the Ingress has a host without TLS"
        if "defaultBackend" in ingress:
            yield f"{where}: the Ingress shows all paths"


@check
def secrets_are_given_by_reference() -> Mistakes:
    """No Secret is written here, and what is needed is in the instructions."""
    readme = read("deploy/kubernetes/README.md")
    for where, documents in both():
        if kind(documents, "Secret"):
            yield f"{where}: a Secret is written here"
        for workload in workloads(documents):
            name = f"{where}: {workload['kind']}"
            (container,) = pod(workload)["containers"]
            for variable, value in pod_environment(documents, workload).items():
                if variable in secret_settings():
                    yield f"{name}: the secret {variable} is written here"
                if not is_known(variable):
                    yield f"{name}: the service does not know {variable}"
                if value == "":
                    yield f"{name}: {variable} is empty"
            for entry in container.get("env", []):
                reference = entry.get("valueFrom", {}).get("secretKeyRef")
                if not reference or not is_known(entry["name"]):
                    yield f"{name}: {entry['name']} is no setting by reference"
                elif f"{reference['key']}=" not in readme or reference["name"] not in readme:
                    yield f"{name}: the key {reference['key']} is not in deploy/kubernetes/README.md"
    app, migrate = (
        {entry["valueFrom"]["secretKeyRef"]["name"] for entry in pod(one(rendered(BASE), name))["containers"][0]["env"]}
        for name in ("Deployment", "Job")
    )
    if app & migrate:
        yield "the pods of the service can read the password of the owner of the tables"


# ---- scripts ---------------------------------------------------------------------------------------


@check
def the_scripts_are_clean() -> Mistakes:
    """shellcheck has nothing to say."""
    try:
        run(TOOLS / "shellcheck", *files_below("scripts/*.sh"))
    except RuntimeError as error:
        yield str(error)


# ---- the binary ------------------------------------------------------------------------------------


@check
def the_binary_knows_its_commands() -> Mistakes:
    """Each command that is used somewhere exists."""
    last = dict(dockerfile()[-1])
    used = {"Dockerfile": [json.loads(last["CMD"]), image_health_check()[1:]]}
    used["docker-compose.yml"] = [
        service["command"]
        for service in services().values()
        if service["image"].startswith("signup-service:") and service.get("command")
    ]
    for where, documents in both():
        used[where] = [pod(workload)["containers"][0]["args"] for workload in workloads(documents)]
    for where, commands in used.items():
        for command in commands:
            if subprocess.run([BINARY, *command, "--help"], capture_output=True, check=False).returncode:
                yield f"{where}: the service has no command {' '.join(command)}"


@check
def the_binary_takes_its_settings() -> Mistakes:
    """The service has nothing to say against the values; there is nobody who could answer it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_secrets(folder / "secrets")
        given: dict[str, dict[str, str]] = {}
        for service in ("app", "migrate"):
            given[f"docker-compose.yml: {service}"] = {
                variable: value.replace("/run/secrets/", f"{folder}/secrets/")
                for variable, value in environment(services()[service]).items()
            }
        for where, documents in both():
            for workload in workloads(documents):
                given[f"{where}: {workload['kind']}"] = pod_environment(documents, workload)
        for where, variables in given.items():
            # Port 0 is nobody's.
            env = {**variables, "PORT": "0", "HOST": "127.0.0.1"}
            done = subprocess.run([BINARY, "healthcheck"], env=env, cwd=folder, text=True, capture_output=True, check=False)
            if "no answer from" not in done.stderr:
                yield f"{where}: {done.stderr.strip()}"


def main() -> int:
    """Runs all checks, and says what was wrong."""
    failed = 0
    for function in CHECKS:
        try:
            mistakes = list(function())
        except (RuntimeError, OSError, KeyError, ValueError, TypeError, StopIteration) as error:
            mistakes = [f"could not be checked: {type(error).__name__}: {error}"]
        failed += bool(mistakes)
        for mistake in mistakes:
            print(f"{function.__name__}: {mistake}")
    print(f"deployment: {len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

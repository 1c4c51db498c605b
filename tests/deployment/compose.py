"""Checks of docker-compose.yml and of its secrets."""

import ipaddress
import json
import os
import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import yaml

from image import image_health_check
from project import (
    ROOT,
    TOOLS,
    Document,
    Mistakes,
    check,
    files_below,
    is_known,
    open_doors,
    read,
    run,
    settings,
    stop_ms,
    unpinned,
)


@cache
def compose(*profiles: str) -> Document:
    """docker-compose.yml as Compose understands it."""
    options = [word for profile in profiles for word in ("--profile", profile)]
    # Variables get their defaults from the file alone.
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    command: tuple[str | Path, ...] = (
        TOOLS / "docker-compose",
        "--file",
        "docker-compose.yml",
        "--env-file",
        "/dev/null",
        *options,
        "config",
    )
    run(*command, "--quiet", env=env)
    document: Document = json.loads(run(*command, "--format", "json", env=env))
    return document


def services() -> dict[str, Document]:
    """All services."""
    found: dict[str, Document] = compose("load")["services"]
    return found


def once(service: Document) -> bool:
    """Whether a service runs to completion."""
    return bool(service.get("restart") == "no")


def environment(service: Document) -> dict[str, str]:
    """The variables of a service."""
    return {name: str(value) for name, value in (service.get("environment") or {}).items()}


@check
def compose_has_every_service() -> Mistakes:
    """All services exist, and `load` only with its profile."""
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
    """Each is pinned, limited, has a health check, and waits for the health of others."""
    for name, service in services().items():
        yield from (f"{name}: {mistake}" for mistake in filter(None, [unpinned(service["image"])]))
        limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
        if not {"cpus", "memory"} <= set(limits):
            yield f"{name} has no limits of CPU and memory"
        health = service.get("healthcheck", {})
        if once(service):
            if health:
                yield f"{name} runs once, and has an unused health check"
        elif len(health.get("test", [])) < 2 or health["test"][0] != "CMD" or health.get("disable"):
            yield f"{name} has no health check"
        log = service.get("logging", {})
        if log.get("driver") != "json-file" or not {"max-size", "max-file"} <= set(log.get("options", {})):
            yield f"{name}: its log has no size limit"
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
def compose_services_are_locked_in() -> Mistakes:
    """Only needed capabilities, no writable root, and no outside access for the service."""
    # The image of PostgreSQL starts as root and becomes another user.
    capabilities = {"postgres": {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}}
    # Locust writes its report into its root.
    writers = {"load"}
    for name, service in services().items():
        if service.get("cap_drop") != ["ALL"] or set(service.get("cap_add", [])) != capabilities.get(
            name, set()
        ):
            yield f"{name} does not have just the capabilities that it needs"
        if "no-new-privileges:true" not in service.get("security_opt", []) or service.get("privileged"):
            yield f"{name} may gain privileges"
        if not service.get("read_only") and name not in writers:
            yield f"{name} may write to its root"
    networks = compose("load")["networks"]
    open_ones = {name for name, network in networks.items() if not network.get("internal")}
    for name, service in services().items():
        outside = open_ones & set(service.get("networks") or {})
        if bool(outside) != bool(service.get("ports")):
            yield f"{name} has outside access without a port on the machine, or the reverse"
    front = {name for name, service in services().items() if "front" in (service.get("networks") or {})}
    if front != {"app", "proxy"}:
        yield f"the network of the proxy has {sorted(front)} on it"
    (subnet,) = networks["front"]["ipam"]["config"]
    trusted = environment(services()["app"])["TRUSTED_PROXIES"]
    if trusted != subnet["subnet"] or ipaddress.ip_network(trusted).prefixlen < 24:
        yield f"the service trusts more addresses than those of the proxy's network: {trusted}"
    yield from (f"app: {mistake}" for mistake in open_doors(environment(services()["app"])))


@check
def compose_runs_the_image() -> Mistakes:
    """The service can be scaled, and shuts down properly."""
    for name in ("app", "migrate"):
        service = services()[name]
        if "user" in service:
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
        yield "the health check of app differs from that of the image"
    if seconds(app.get("stop_grace_period", "10s")) * 1000 < stop_ms(environment(app)):
        yield "app is killed before it has shut down"
    if (
        set(app["depends_on"]) < {"postgres", "redis", "grants"}
        or "migrate" not in services()["grants"]["depends_on"]
    ):
        yield "app does not wait for its database, its tables, its user and Redis"
    if "prometheus" in app["depends_on"] or "jaeger" in app["depends_on"]:
        yield "app waits for its monitoring"


def seconds(text: str) -> float:
    """A duration in Compose's format, in seconds."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)([hms])", text))


@check
def compose_agrees_with_the_rest() -> Mistakes:
    """Prometheus finds the service, Locust has the pinned version, and the proxy checks existing paths."""
    scrapes = yaml.safe_load(read("prometheus.yml"))["scrape_configs"]
    found = [found for scrape in scrapes for found in scrape.get("dns_sd_configs", [])]
    port = int(settings()["PORT"])
    known = environment(services()["app"])
    operations = known.get("OPERATIONS_PORT", str(port))
    if operations == str(port) or known.get("OPERATIONS_HOST") != "0.0.0.0":
        yield "the probes and metrics of app have no separate listener"
    if not any(
        entry["names"] == ["app"] and str(entry["port"]) == operations and entry["type"] == "A"
        for entry in found
    ):
        yield f"prometheus.yml does not look for app, port {operations}"
    for a, b in (
        ("app", "prometheus"),
        ("app", "jaeger"),
        ("app", "proxy"),
        ("app", "postgres"),
        ("app", "redis"),
        ("grafana", "prometheus"),
    ):
        if not set(services()[a]["networks"]) & set(services()[b]["networks"]):
            yield f"{a} and {b} have no network in common"
    if set(services()["postgres"]["networks"]) != {"data"} or not compose()["networks"]["data"].get(
        "internal"
    ):
        yield "the network of the database leads outside"
    mounts = {volume["target"]: volume["source"] for volume in services()["prometheus"]["volumes"]}
    for rules in yaml.safe_load(read("prometheus.yml"))["rule_files"]:
        folder, _, name = str(Path("/etc/prometheus") / rules).rpartition("/")
        if not (Path(mounts.get(folder, "/nowhere")) / name).exists():
            yield f"prometheus.yml names {rules}, which is not mounted there"
    for provider in yaml.safe_load(
        next((ROOT / "deploy/grafana/provisioning/dashboards").glob("*.y*ml")).read_text()
    )["providers"]:
        targets = {volume["target"] for volume in services()["grafana"]["volumes"]}
        if provider["options"]["path"] not in targets:
            yield f"Grafana looks for dashboards in {provider['options']['path']}, where none are mounted"
    wanted = re.search(r"^locust==(\S+)", read("locust/requirements.txt"), re.MULTILINE)
    if not wanted or services()["load"]["image"] != f"locustio/locust:{wanted[1]}":
        yield "the image of Locust is not the version of locust/requirements.txt"
    (published,) = services()["proxy"]["ports"]
    if known.get("PUBLIC_URL") != f"http://{published['host_ip']}:{published['published']}":
        yield f"the issuer of access tokens is not the address of the proxy: {known.get('PUBLIC_URL')}"
    if services()["load"]["network_mode"] != "service:proxy":
        yield "load does not share the loopback of the proxy"
    proxy = read("deploy/compose/haproxy.cfg")
    if (
        f"app:{port} check port {operations} " not in proxy
        or "uri /ready" not in proxy
        or "set-header X-Forwarded-For %[src]" not in proxy
    ):
        yield "haproxy.cfg does not send app the requests that the service expects"
    for header in ("traceparent", "tracestate"):
        if f"http-request del-header {header}\n" not in proxy:
            yield f"haproxy.cfg lets a client choose the {header}"
    if re.search(r"^\s*cache\b|cache-use|cache-store|(del|replace|set)-header authorization", proxy, re.MULTILINE | re.IGNORECASE):
        yield "haproxy.cfg keeps responses, some of which are tokens, or changes credentials"
    lines = re.findall(r"^\s*log-format (.*)", proxy, re.MULTILINE)
    for line in lines:
        if re.search(r"%(ci|HU|HP|HQ|hr|r\b)|%\[src\]|path|query|url|hdr|capture", line):
            yield f"haproxy.cfg logs an address or a token, or a field that may contain one: {line}"
    if not lines or "option httplog" in proxy or "option dontlog-normal" not in proxy:
        yield "haproxy.cfg does not log refused requests without the address of the client"
    listens, path = re.search(r"frontend health\s+bind (\S+)", proxy), re.search(r"monitor-uri (\S+)", proxy)
    if (
        not listens
        or not path
        or services()["proxy"]["healthcheck"]["test"][-1] != f"http://{listens[1]}{path[1]}"
    ):
        yield "the health check of proxy does not use the address of haproxy.cfg"


def make_secrets(folder: Path) -> dict[str, str]:
    """Runs the script, and returns the secrets it has generated."""
    run("scripts/compose-secrets.sh", folder)
    return {path.name: path.read_text() for path in folder.iterdir()}


@check
def secrets_are_made_at_random_and_kept() -> Mistakes:
    """Each is a file that only its container can read, and no other user of the machine."""
    with tempfile.TemporaryDirectory() as name:
        one, other = Path(name, "one"), Path(name, "other")
        first, again, second = make_secrets(one), make_secrets(one), make_secrets(other)
        if first != again:
            yield "compose-secrets.sh changes existing secrets"
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
    """No variable contains a secret, and each secret that a variable names is mounted."""
    for name, service in services().items():
        known = {secret["source"] for secret in service.get("secrets", [])}
        for variable, value in environment(service).items():
            if re.search(r"(PASSWORD|SECRET|TOKEN|DATABASE_URL|REDIS_URL)$", variable):
                yield f"{name} has the secret {variable} in its environment"
            if variable.endswith("_FILE") and value.removeprefix("/run/secrets/") not in known:
                yield f"{name}: {variable} names a secret that is not mounted"
        text = json.dumps([service.get("command"), service.get("entrypoint")])
        for secret in re.findall(r"/run/secrets/(\w+)", text):
            if secret not in known:
                yield f"{name} reads the secret {secret}, which is not mounted"


@check
def no_secret_is_committed() -> Mistakes:
    """No file of the repository contains one."""
    if run("git", "ls-files", "deploy/compose/secrets"):
        yield "secrets are committed"
    if subprocess.run(
        ["git", "check-ignore", "--quiet", "deploy/compose/secrets/x"], cwd=ROOT, check=False
    ).returncode:
        yield "git does not ignore deploy/compose/secrets"
    looks = re.compile(
        r"[0-9a-f]{32,}|BEGIN [A-Z ]*PRIVATE KEY|(?:postgres|redis)s?://[^\s:/@]+:[^\s:/@$…<>]+@",
        re.IGNORECASE,
    )
    for file in (
        "Dockerfile",
        "docker-compose.yml",
        "prometheus.yml",
        *files_below("deploy"),
        *files_below("scripts"),
    ):
        for line in (ROOT / file).read_text().splitlines():
            # The hashes of Python packages are public.
            if looks.search(re.sub(r"--hash=sha256:\w+", "", line)) and "$(" not in line:
                yield f"{file} contains an apparent secret: {line.strip()[:40]}"


@check
def grants_are_those_of_the_documents() -> Mistakes:
    """The privileges match SECURITY.md."""

    # tests/api/store_state.rs tests that the privileges suffice, and that no hash can be read.
    if "(deploy/postgres/grants.sql)" not in read("SECURITY.md"):
        yield "SECURITY.md does not link to deploy/postgres/grants.sql"
    if re.search(r"(SELECT|INSERT|UPDATE)\b(?! \()", re.sub(r"(?m)^--.*|^SELECT 'CREATE.*|^WHERE.*", "", read("deploy/postgres/grants.sql"))):
        yield "deploy/postgres/grants.sql grants whole tables"
    documented = re.search(r"ACL SETUSER signup on >\S+ (.*)", read("SECURITY.md"))
    with tempfile.TemporaryDirectory() as name:
        made = re.search(r"user signup on >\S+ (.*)", make_secrets(Path(name, "s"))["redis_users"])
    if not documented or not made:
        yield "there is no user of Redis to compare"
    elif set(documented[1].split()) | {"resetchannels", "-@all"} != set(made[1].split()):
        yield "compose-secrets.sh grants the Redis user other privileges than SECURITY.md"

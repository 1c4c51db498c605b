"""Checks of deploy/kubernetes."""

import ipaddress
import json
import re
from collections.abc import Iterable, Iterator
from functools import cache

import jsonschema
import kubernetes_validate
import yaml

from image import image_user
from project import (
    HERE,
    KUBERNETES,
    POSTGRES_CONNECTIONS,
    TOOLS,
    Document,
    Mistakes,
    check,
    is_known,
    open_doors,
    read,
    run,
    secret_settings,
    setting_ms,
    settings,
    stop_ms,
    unpinned,
)

BASE = "deploy/kubernetes/base"
PRODUCTION = "deploy/kubernetes/overlays/production"
# The routes of the Ingress.
PATHS = {
    ("/signup", "Exact"),
    ("/auth/login", "Exact"),
    ("/auth/refresh", "Exact"),
    ("/auth/logout", "Exact"),
    ("/auth/reauthenticate", "Exact"),
    ("/auth/verify-email", "Prefix"),
    ("/auth/email", "Prefix"),
    ("/auth/password", "Prefix"),
    ("/users", "Prefix"),
    ("/", "Exact"),
    ("/sign-up", "Exact"),
    ("/log-in", "Exact"),
    ("/verify-email", "Exact"),
    ("/forgot-password", "Exact"),
    ("/reset-password", "Exact"),
    ("/confirm-email", "Exact"),
    ("/undo-email", "Exact"),
    ("/account", "Exact"),
    ("/pages", "Prefix"),
    ("/.well-known/jwks.json", "Exact"),
    ("/openapi.json", "Exact"),
    ("/docs", "Prefix"),
    ("/problems", "Prefix"),
}
# Documented paths that only programs inside the cluster need. A new path is in one of the two.
INTERNAL = {"/health", "/ready", "/metrics", "/auth/introspect", "/auth/revocations"}


@cache
def rendered(folder: str) -> list[Document]:
    """The output of kustomize for a folder."""
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
    """Whether a label selector matches these labels."""
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
    """Each matches the schema of its kind, without unknown fields."""
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
            if "." in document["apiVersion"].partition("/")[0] and document["apiVersion"].startswith(
                "monitoring.coreos.com"
            ):
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
        yield f"{file} is stale: run `make docs`"
    groups = yaml.safe_load(read("deploy/prometheus/rules.yml"))["groups"]
    for where, documents in both():
        if one(documents, "PrometheusRule")["spec"]["groups"] != groups:
            yield f"{where}: the PrometheusRule has other groups than deploy/prometheus/rules.yml"


@check
def pods_are_locked_in() -> Mistakes:
    """Each meets the profile `restricted` and more, with limits and a pinned image."""
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
            if any(spec.get(field) for field in ("hostNetwork", "hostPID", "hostIPC", "initContainers")):
                yield f"{name} uses host namespaces or other containers, which are not checked"
            if any(set(volume) != {"name", "secret"} for volume in spec.get("volumes", [])):
                yield f"{name} has volumes other than Secrets, which are not checked"
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
        yield "production: the namespace does not enforce restricted pods"
    for document in rendered(PRODUCTION):
        where = document["metadata"].get("namespace")
        if document["kind"] != "Namespace" and where != namespace["metadata"]["name"]:
            yield f"production: {document['kind']} is in the namespace {where}"


@check
def the_deployment_serves_in_order() -> Mistakes:
    """Probes, shutdown time, replicas and connections."""
    for where, documents in both():
        deployment = one(documents, "Deployment")
        (container,) = pod(deployment)["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        env = pod_environment(documents, deployment)
        if ports.get("http") != int(env.get("PORT", settings()["PORT"])) or env.get("HOST") != "0.0.0.0":
            yield f"{where}: the service does not listen on the port of its container"
        if str(ports.get("operations")) != env.get("OPERATIONS_PORT") or env.get("OPERATIONS_HOST") != "0.0.0.0":
            yield f"{where}: the probes have no separate listener"
        for probe, path in (
            ("startupProbe", "/health"),
            ("livenessProbe", "/health"),
            ("readinessProbe", "/ready"),
        ):
            if container.get(probe, {}).get("httpGet") != {"path": path, "port": "operations"}:
                yield f"{where}: the {probe} does not use {path}"
        if pod(deployment).get("terminationGracePeriodSeconds", 30) * 1000 < stop_ms(env):
            yield f"{where}: the pod is killed before it has shut down"
        if setting_ms(env, "SHUTDOWN_DELAY_MS") < 2000 and "lifecycle" not in container:
            yield f"{where}: the pod stops before the cluster has noticed"
        if "replicas" in deployment["spec"]:
            yield f"{where}: the Deployment and the HorizontalPodAutoscaler both set the number of replicas"
        scaler = one(documents, "HorizontalPodAutoscaler")
        target = scaler["spec"]["scaleTargetRef"]
        if (target["kind"], target["name"]) != ("Deployment", deployment["metadata"]["name"]):
            yield f"{where}: the HorizontalPodAutoscaler scales something else"
        if [metric["resource"]["name"] for metric in scaler["spec"]["metrics"]] != ["cpu"]:
            yield f"{where}: the HorizontalPodAutoscaler does not scale by CPU"
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
    """Selectors match the intended pods, and no others."""
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
            if endpoint["port"] != "operations" or "operations" not in ports or endpoint["path"] != "/metrics":
                yield f"{where}: the ServiceMonitor uses a port or path that does not exist"
        (container,) = pod(deployment)["containers"]
        if not set(ports.values()) <= {port["name"] for port in container["ports"]}:
            yield f"{where}: the Service routes to a port that does not exist"
        for rule in one(documents, "Ingress")["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                if backend["name"] != service["metadata"]["name"] or backend["port"]["name"] != "http":
                    yield f"{where}: the Ingress routes to another Service or port than that for clients"


def is_narrow(peer: Document) -> bool:
    """Whether a peer is pods by name in a namespace by name, or a single address."""
    if set(peer) == {"ipBlock"}:
        return ipaddress.ip_network(peer["ipBlock"]["cidr"]).num_addresses == 1
    return set(peer) == {"namespaceSelector", "podSelector"} and all(
        selector.get("matchLabels") for selector in peer.values()
    )


@check
def the_network_is_closed() -> Mistakes:
    """Each pod has a policy, and only what clients need is public."""
    for where, documents in both():
        policies = kind(documents, "NetworkPolicy")
        for workload in workloads(documents):
            mine = [policy for policy in policies if selects(policy["spec"]["podSelector"], labels(workload))]
            if len(mine) != 1 or set(mine[0]["spec"]["policyTypes"]) != {"Ingress", "Egress"}:
                yield f"{where}: the {workload['kind']} does not have exactly one policy for both directions"
                continue
            out = {port["port"] for rule in mine[0]["spec"]["egress"] for port in rule["ports"]}
            wanted = {53, 5432} | ({6379, 587, 4317, 4318} if workload["kind"] == "Deployment" else set())
            if out != wanted:
                yield f"{where}: the {workload['kind']} may connect to the ports {sorted(out)}"
            inside = mine[0]["spec"].get("ingress", [])
            if any(not rule.get("from") or not rule.get("ports") for rule in inside):
                yield f"{where}: all pods may connect to the {workload['kind']}"
            # The ingress controller and Prometheus.
            if len(inside) != (2 if workload["kind"] == "Deployment" else 0):
                yield f"{where}: other peers than those two may connect to the {workload['kind']}"
            doors = [port["port"] for rule in inside for port in rule["ports"]]
            if doors != (["http", "operations"] if workload["kind"] == "Deployment" else []):
                yield f"{where}: clients and Prometheus connect to the {workload['kind']} on {doors}"
            peers = [peer for rule in inside for peer in rule["from"]]
            peers += [peer for rule in mine[0]["spec"]["egress"] for peer in rule["to"]]
            for peer in peers:
                if not is_narrow(peer):
                    yield f"{where}: the {workload['kind']} may connect to, or be reached by, all of {peer}"
        ingress = one(documents, "Ingress")["spec"]
        paths = {
            (path["path"], path["pathType"]) for rule in ingress["rules"] for path in rule["http"]["paths"]
        }
        if paths != PATHS:
            yield f"{where}: the Ingress exposes the paths {sorted(path for path, _ in paths)}"
        for path in json.loads(read("docs/reference/openapi.json"))["paths"]:
            is_routed = any(
                path == route or (how == "Prefix" and path.startswith(f"{route}/")) for route, how in paths
            )
            if is_routed == (path in INTERNAL):
                yield f"{where}: the Ingress and the list of internal paths both have, or both lack, {path}"
        hosts = {rule.get("host") for rule in ingress["rules"]}
        if not all(hosts) or hosts != {host for tls in ingress.get("tls", []) for host in tls["hosts"]}:
            yield f"{where}: the Ingress has a host without TLS"
        if "defaultBackend" in ingress:
            yield f"{where}: the Ingress exposes all paths"
        env = pod_environment(documents, one(documents, "Deployment"))
        if {env.get("PUBLIC_URL")} != {f"https://{host}" for host in hosts}:
            yield f"{where}: the issuer of access tokens is not the host of the Ingress: {env.get('PUBLIC_URL')}"
        yield from (f"{where}: {mistake}" for mistake in open_doors(env))


def mounted(workload: Document) -> dict[str, str]:
    """The paths of the Secrets mounted in its container, with their names."""
    secrets = {
        volume["name"]: volume["secret"]["secretName"]
        for volume in pod(workload).get("volumes", [])
        if "secret" in volume
    }
    (container,) = pod(workload)["containers"]
    return {
        mount["mountPath"]: secrets[mount["name"]]
        for mount in container.get("volumeMounts", [])
        if mount["name"] in secrets
    }


def documented_keys(secret: str) -> set[str]:
    """The keys of a Secret in the instructions."""
    readme = read("deploy/kubernetes/README.md")
    made = re.search(rf"create secret generic {secret} \\\n((?:  --from-literal=.*\n)+)", readme)
    keys = set(re.findall(r"--from-literal=([a-z-]+)=", made[1] if made else ""))
    if f"key of `{secret}`" in readme:
        keys |= set(re.findall(r"^\| `([a-z-]+)` \| `[A-Z_]+_FILE`", readme, re.MULTILINE))
    return keys


@check
def the_secrets_of_pods_are_files() -> Mistakes:
    """The manifests contain no Secret, no variable has one, and the instructions have those needed."""
    for where, documents in both():
        if kind(documents, "Secret"):
            yield f"{where}: the manifests contain a Secret"
        for workload in workloads(documents):
            name = f"{where}: {workload['kind']}"
            folders = mounted(workload)
            (container,) = pod(workload)["containers"]
            for variable, value in pod_environment(documents, workload).items():
                # The address of a collector is no secret if it has no password.
                is_plain = variable == "OTEL_EXPORTER_OTLP_ENDPOINT" and "@" not in value and "?" not in value
                if variable in secret_settings() and not is_plain:
                    yield f"{name}: the manifests contain the secret {variable}"
                if not is_known(variable):
                    yield f"{name}: the service does not know {variable}"
                if value == "":
                    yield f"{name}: {variable} is empty"
                if variable.endswith("_FILE"):
                    folder, _, key = value.rpartition("/")
                    if key not in documented_keys(folders.get(folder, "")):
                        yield f"{name}: {variable} does not name a key of a mounted Secret in README.md: {value}"
            if any("valueFrom" in entry for entry in container.get("env", [])):
                yield f"{name}: a variable contains a secret"
            if any("secretRef" in source for source in container.get("envFrom", [])):
                yield f"{name}: variables contain a Secret"
            if not folders:
                yield f"{name}: no Secret is mounted"
            for mount in container.get("volumeMounts", []):
                if not mount.get("readOnly"):
                    yield f"{name}: {mount['mountPath']} can be written"
            for volume in pod(workload).get("volumes", []):
                if volume.get("secret", {}).get("defaultMode") != 0o440:
                    yield f"{name}: other users than the service may read the volume {volume['name']}"
            if pod(workload)["securityContext"].get("fsGroup") != image_user():
                yield f"{name}: the service can't read its Secret"
    app, migrate = (
        set(mounted(one(rendered(BASE), name)).values()) for name in ("Deployment", "Job")
    )
    if app & migrate:
        yield "the pods of the service can read the password of the owner of the tables"


@check
def few_addresses_are_trusted() -> Mistakes:
    """Few networks may report the client's address."""
    for where, documents in both():
        env = pod_environment(documents, one(documents, "Deployment"))
        for network in env.get("TRUSTED_PROXIES", "").split(","):
            if network and ipaddress.ip_network(network).num_addresses > 65536:
                yield f"{where}: all of {network} is trusted as a proxy"

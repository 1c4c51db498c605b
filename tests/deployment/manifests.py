"""Checks of deploy/kubernetes."""

import json
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
            if any(
                spec.get(field)
                for field in ("hostNetwork", "hostPID", "hostIPC", "volumes", "initContainers")
            ):
                yield f"{name} has parts of the host, volumes or other containers, which are not checked"
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
        for probe, path in (
            ("startupProbe", "/health"),
            ("livenessProbe", "/health"),
            ("readinessProbe", "/ready"),
        ):
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
            # The ingress controller and Prometheus.
            if len(inside) != (2 if workload["kind"] == "Deployment" else 0):
                yield f"{where}: others than those two may talk to the {workload['kind']}"
        ingress = one(documents, "Ingress")["spec"]
        paths = {
            (path["path"], path["pathType"]) for rule in ingress["rules"] for path in rule["http"]["paths"]
        }
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
        {
            entry["valueFrom"]["secretKeyRef"]["name"]
            for entry in pod(one(rendered(BASE), name))["containers"][0]["env"]
        }
        for name in ("Deployment", "Job")
    )
    if app & migrate:
        yield "the pods of the service can read the password of the owner of the tables"

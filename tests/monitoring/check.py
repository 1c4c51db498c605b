"""Checks the monitoring: the rules and their tests, the dashboard, the documents; and all of it with
the running service and a real Prometheus that scrapes it.

Run it with `make check-monitoring`.
"""

import argparse
import itertools
import json
import re
import signal
import subprocess
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import programs
import promql
import yaml
from programs import Failed, Prometheus, eventually, request

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "prometheus.yml"
RULES = ROOT / "deploy/prometheus/rules.yml"
RULES_TEST = ROOT / "deploy/prometheus/rules_test.yml"
GRAFANA = ROOT / "deploy/grafana"
DASHBOARD = GRAFANA / "dashboards/signup-service.json"
METRICS = ROOT / "docs/reference/metrics.md"
RUNBOOKS = ROOT / "docs/how-to/respond-to-alerts.md"

JOB = "signup-service"
OF_JOB = ("job", "=", JOB)

JSON = {"Content-Type": "application/json"}

# Labels that Prometheus adds to scraped metrics.
TARGET_LABELS = {"job", "instance"}

# Replacements for Grafana's variables.
VARIABLES = {"$instance": ".*", "$__rate_interval": "1m"}


@dataclass(frozen=True)
class Query:
    """A query, and its location."""

    where: str
    text: str
    legend: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description="Checks the monitoring.")
    parser.add_argument("--binary", type=Path, required=True, help="the service")
    binary = parser.parse_args().binary.resolve()
    # So that programs are also stopped when this one is terminated.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))

    groups = loaded(RULES)["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    dashboard = json.loads(DASHBOARD.read_text())
    try:
        promtool("check", "config", CONFIG)
        promtool("check", "rules", "--lint-fatal", RULES)
        promtool("test", "rules", RULES_TEST)
        if loaded(RULES_TEST)["group_eval_order"] != [group["name"] for group in groups]:
            raise Failed("the tests evaluate the groups in another order")
        none("rules without a test", untested(rules))
        none("faults of the rules", faults_of_rules(rules))
        none("faults of the dashboard", faults_of_dashboard(dashboard))
        with tempfile.TemporaryDirectory() as folder:
            live(binary, Path(folder), rules, dashboard)
    except Failed as failure:
        sys.exit(
            f"check-monitoring: {failure}\n(logs, where there are any, are in {programs.LOGS})"
        )
    held = len(rules) + len(list(panels(dashboard)))
    print(f"check-monitoring: rules and panels: {held} passed, 0 failed")


def none(what: str, faults: Iterable[str]) -> None:
    """Fails if there are faults."""
    if found := list(faults):
        raise Failed(f"{what}:\n  " + "\n  ".join(found))


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def promtool(*arguments: str | Path, stdin: str | None = None) -> str:
    """Runs promtool; returns its output."""
    done = subprocess.run(
        ["promtool", *map(str, arguments)],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Failed(f"promtool {arguments[0]} {arguments[1]}:\n{done.stdout}")
    return done.stdout


# --- Checks without running anything


def untested(rules: list[Any]) -> Iterator[str]:
    """Alerts that do not both fire and not fire in tests, and untested figures."""
    tests = loaded(RULES_TEST)["tests"]
    of_alerts = [case for test in tests for case in test.get("alert_rule_test", [])]
    fire = {case["alertname"] for case in of_alerts if case["exp_alerts"]}
    rest = {case["alertname"] for case in of_alerts if not case["exp_alerts"]}
    figures = {
        (selector.name, labels)
        for test in tests
        for case in test.get("promql_expr_test", [])
        for selector in promql.selectors(case["expr"])
        for labels in itertools.chain([""], (sample["labels"] for sample in case["exp_samples"]))
        if case["exp_samples"]
    }
    for rule in rules:
        if "alert" in rule:
            if rule["alert"] not in fire:
                yield f"{rule['alert']} never fires"
            if rule["alert"] not in rest:
                yield f"{rule['alert']} is never quiet"
            continue
        # Rules that differ only in their labels count separately.
        marks = [f'{label}="{value}"' for label, value in rule.get("labels", {}).items()]
        if not any(
            name == rule["record"] and all(mark in labels for mark in marks)
            for name, labels in figures
        ):
            yield " ".join([rule["record"], *marks])
    known = {rule.get("alert") for rule in rules}
    yield from (f"{name} is tested, but is not an alert" for name in sorted((fire | rest) - known))


def faults_of_rules(rules: list[Any]) -> Iterator[str]:
    """Selectors that include other services, and alerts with missing information."""
    recorded = {rule["record"] for rule in rules if "record" in rule}
    for query in queries_of_rules(rules):
        for selector in promql.selectors(query.text):
            if selector.name not in recorded and OF_JOB not in selector.matchers:
                yield f"{query.where}: {selector.name} does not name the job"
    headings = re.findall(r"^### (\S+)$", RUNBOOKS.read_text(), re.MULTILINE)
    alerts = [rule for rule in rules if "alert" in rule]
    for alert in alerts:
        name, annotations = alert["alert"], alert["annotations"]
        if alert["labels"]["severity"] not in ("critical", "warning"):
            yield f"{name}: severity is neither critical nor warning"
        if not annotations["summary"]:
            yield f"{name}: no summary"
        # Without series, there is no figure.
        if "$value" not in annotations["description"] and not alert["expr"].startswith("absent("):
            yield f"{name}: the description has no figure"
        if annotations["runbook_url"] != f"docs/how-to/respond-to-alerts.md#{name.lower()}":
            yield f"{name}: the runbook is {annotations['runbook_url']}"
    written = Counter(headings)
    for name in sorted({alert["alert"] for alert in alerts} ^ set(written)):
        yield f"{name} is either an alert or a section of docs/how-to/respond-to-alerts.md, but not both"
    yield from (f"{name} is twice in docs/how-to/respond-to-alerts.md" for name in written if written[name] > 1)


def panels(dashboard: Any) -> Iterator[Any]:
    """The panels with content."""
    return (panel for panel in dashboard["panels"] if panel["type"] != "row")


def faults_of_dashboard(dashboard: Any) -> Iterator[str]:
    """Panels that Grafana would show wrongly, or without a description."""
    (source,) = loaded(GRAFANA / "provisioning/datasources/prometheus.yml")["datasources"]
    if source["uid"] != "prometheus":
        yield "the data source is not called prometheus"
    (instance,) = dashboard["templating"]["list"]
    for panel in [instance, *panels(dashboard)]:
        if panel["datasource"] != {"type": "prometheus", "uid": source["uid"]}:
            yield f"{panel.get('title', 'instance')}: another data source"
    ids = Counter(panel["id"] for panel in dashboard["panels"])
    yield from (f"id {number} is used twice" for number in ids if ids[number] > 1)
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        if place["x"] + place["w"] > 24:
            yield f"{panel['title']}: leaves the screen"
        for cell in itertools.product(
            range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        ):
            if taken.setdefault(cell, panel["title"]) != panel["title"]:
                yield f"{panel['title']} covers {taken[cell]}"
                break
    for panel in panels(dashboard):
        if not panel["description"].endswith("."):
            yield f"{panel['title']}: no description"
        if not panel["fieldConfig"]["defaults"].get("unit"):
            yield f"{panel['title']}: no unit"
        if not panel["targets"] or not all(target["legendFormat"] for target in panel["targets"]):
            yield f"{panel['title']}: no legend"
        if len({target["refId"] for target in panel["targets"]}) < len(panel["targets"]):
            yield f"{panel['title']}: a refId is used twice"


def queries_of_rules(rules: list[Any]) -> Iterator[Query]:
    for rule in rules:
        yield Query(rule.get("record") or rule["alert"], rule["expr"])


def queries_of_dashboard(dashboard: Any) -> Iterator[Query]:
    for panel in panels(dashboard):
        for target in panel["targets"]:
            text = target["expr"]
            for variable, value in VARIABLES.items():
                text = text.replace(variable, value)
            yield Query(f"panel {panel['title']}", text, target["legendFormat"])


# --- Checks with the service and Prometheus running


def live(binary: Path, folder: Path, rules: list[Any], dashboard: Any) -> None:
    """Runs both, and checks them."""
    with programs.service(binary, folder) as (address, process):
        url = f"http://{address}"
        done = use(url)
        metrics = request(f"{url}/metrics").body.decode()
        if complaints := promtool("check", "metrics", stdin=metrics):
            raise Failed(f"promtool check metrics:\n{complaints}")
        none("docs/reference/metrics.md and /metrics differ", faults_of_table(metrics))

        targets = {job: folder / f"{job}.json" for job in (JOB, "prometheus")}
        config = folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(config_for(targets)))
        targets[JOB].write_text(json.dumps([{"targets": [address]}]))
        with programs.prometheus(config, folder) as own_address:
            targets["prometheus"].write_text(json.dumps([{"targets": [own_address]}]))
            server = Prometheus(f"http://{own_address}")
            eventually("a target is not up", lambda: list(down(server)))
            # Again while Prometheus scrapes, so that there are rates.
            done += use(url)
            eventually("Prometheus has other figures", lambda: list(other_figures(server, done)))
            eventually("rules fail", lambda: list(failing(server, rules)))
            recorded = [
                Query(rule["record"], str(recorded_by(rule))) for rule in rules if "record" in rule
            ]
            shown = list(queries_of_dashboard(dashboard))
            eventually("queries find nothing", lambda: list(empty(server, recorded + shown)))
            none("queries with unknown names", missing(server, rules, dashboard))
            none("alerts that fire for a healthy service", firing(server, rules))
            if code := programs.end(process):
                raise Failed(f"the service exited with {code}")
            detected = Query("", 'ALERTS{alertname="SignupInstanceDown", alertstate="pending"}')
            eventually("no alert detects the end", lambda: list(empty(server, [detected])))


def use(url: str) -> Counter[str]:
    """Uses the service in each way that has a metric.

    Returns the queries of these metrics, and by how much their figures rise.
    """
    address = f"{uuid.uuid4()}@example.org"
    key = {"Idempotency-Key": str(uuid.uuid4())}
    user_values = {
        "name": "Ada Lovelace",
        "email": address,
        "password": "correct horse battery staple",
    }

    def sign_up(expected: int, headers: Mapping[str, str], values: Mapping[str, str] | None) -> Any:
        body = json.dumps(values).encode() if values else b"not JSON"
        response = request(f"{url}/signup", body, JSON | dict(headers))
        if response.status != expected:
            raise Failed(f"POST /signup: {response.status} instead of {expected}: {response.body!r}")
        return response.json()

    def post(path: str, expected: int, values: Mapping[str, str], key: str) -> Any:
        headers = JSON | {"Idempotency-Key": key}
        response = request(f"{url}{path}", json.dumps(values).encode(), headers)
        if response.status != expected:
            raise Failed(f"POST {path}: {response.status} instead of {expected}: {response.body!r}")
        return response.json()

    user = sign_up(201, key, user_values)["id"]
    sign_up(201, key, user_values)
    sign_up(422, key, user_values | {"name": "Eva Lovelace"})
    sign_up(409, {}, user_values)
    breached = {"email": f"{uuid.uuid4()}@example.org", "password": programs.BREACHED}
    sign_up(422, {}, user_values | breached)
    sign_up(400, {}, None)
    credentials = {name: user_values[name] for name in ("email", "password")}
    keys = [str(uuid.uuid4()) for _ in range(4)]
    session = post("/auth/login", 200, credentials, keys[0])
    post("/auth/login", 200, credentials, keys[0])
    post("/auth/login", 401, credentials | {"password": "not the right one"}, keys[1])
    # Refreshed, refreshed again with the same key, refreshed, and then with a token that was replaced twice.
    first = {"refresh_token": session["refresh_token"]}
    second = post("/auth/refresh", 200, first, keys[2])
    post("/auth/refresh", 200, first, keys[2])
    post("/auth/refresh", 200, {"refresh_token": second["refresh_token"]}, keys[3])
    post("/auth/refresh", 409, first, str(uuid.uuid4()))
    post("/auth/refresh", 401, {"refresh_token": "x"}, str(uuid.uuid4()))
    asked = request(f"{url}/auth/password/forgot", json.dumps({"email": address}).encode(), JSON)
    if asked.status != 202:
        raise Failed(f"POST /auth/password/forgot: {asked.status} instead of 202: {asked.body!r}")
    token = {"Authorization": f"Bearer {session['access_token']}"}
    for password, expected in ((credentials["password"], 200), ("not the right one", 401)):
        again = json.dumps({"password": password}).encode()
        response = request(f"{url}/auth/reauthenticate", again, JSON | token)
        if response.status != expected:
            raise Failed(f"POST /auth/reauthenticate: {response.status} instead of {expected}")
    for path, headers, expected in (
        (f"/users/{user}", token, 200),
        (f"/users/{uuid.uuid4()}", token, 404),
        (f"/users/{user}", {}, 401),
        (f"/users?email={address}", token, 403),
        ("/nowhere", {}, 404),
        ("/ready", {}, 200),
    ):
        if (status := request(url + path, headers=headers).status) != expected:
            raise Failed(f"GET {path}: {status} instead of {expected}")
    received = programs.send_raw(url, b"GARBAGE\r\n\r\n")
    if not received.startswith(b"HTTP/1.1 400 "):
        raise Failed(f"invalid HTTP: {received!r} instead of 400")
    requests = "http_request_duration_seconds_count"
    return Counter(
        {
            'signup_requests_total{status="201"}': 2,
            'signup_requests_total{status="400"}': 1,
            'signup_requests_total{status="409"}': 1,
            'signup_requests_total{status="422"}': 2,
            "signup_duplicate_attempts_total": 1,
            'idempotency_requests_total{result="first"}': 1,
            'idempotency_requests_total{result="replayed"}': 1,
            'idempotency_requests_total{result="mismatch"}': 1,
            'idempotency_replays_total{tier="database"}': 1,
            # Two signups, three logins and two reauthentications.
            "password_hash_duration_seconds_count": 7,
            'hash_wait_seconds_count{class="signup"}': 2,
            'hash_wait_seconds_count{class=~"login|known"}': 3,
            'login_total{outcome="succeeded"}': 1,
            'login_total{outcome="replayed"}': 1,
            'login_total{outcome="invalid"}': 1,
            'reauthentication_total{outcome="succeeded"}': 1,
            'reauthentication_total{outcome="invalid"}': 1,
            'breached_passwords_total{of="new"}': 1,
            'refresh_total{outcome="rotated"}': 2,
            'refresh_total{outcome="replayed"}': 1,
            'refresh_total{outcome="superseded"}': 1,
            'refresh_total{outcome="invalid"}': 1,
            'mail_total{kind="reset", outcome="sent"}': 1,
            'access_denied_total{route="/users/{id}", reason="missing"}': 1,
            'access_denied_total{route="/users/{id}", reason="foreign"}': 1,
            'access_denied_total{route="/users", reason="not_permitted"}': 1,
            'http_unreadable_requests_total{status="400"}': 1,
            f'{requests}{{method="POST", route="/signup", status="201"}}': 2,
            f'{requests}{{method="GET", route="/users/{{id}}", status="200"}}': 1,
            f'{requests}{{method="GET", route="/users/{{id}}", status="404"}}': 1,
            f'{requests}{{method="GET", route="/users/{{id}}", status="401"}}': 1,
            f'{requests}{{method="GET", route="/users", status="403"}}': 1,
            f'{requests}{{method="POST", route="/auth/login", status="200"}}': 2,
            f'{requests}{{method="GET", route="unmatched", status="404"}}': 1,
        }
    )


def faults_of_table(metrics: str) -> Iterator[str]:
    """Differences between the document's tables and /metrics in a name, a type or a label."""
    row = re.compile(r"^\| `([a-z_]+)` \| ([a-z]+) \|([^|]*)\|", re.MULTILINE)
    written: dict[str, tuple[str, set[str]]] = {}
    for name, kind, labels in row.findall(METRICS.read_text()):
        if name in written:
            yield f"{name} is twice in the document"
        written[name] = kind, set(re.findall(r"`([a-z_]+)`", labels))
    exposed: dict[str, tuple[str, set[str]]] = {}
    for line in metrics.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            exposed[name] = kind, set()
        elif not line.startswith("#"):
            exposed[name][1].update(set(re.findall(r'[{,]([a-z_]+)="', line)) - {"le"})
    for name in sorted(written.keys() ^ exposed.keys()):
        yield f"{name} is only in {'the document' if name in written else '/metrics'}"
    for name in sorted(written.keys() & exposed.keys()):
        if written[name] != exposed[name]:
            yield f"{name}: {written[name]} in the document, {exposed[name]} in /metrics"


def config_for(targets: Mapping[str, Path]) -> Any:
    """prometheus.yml, with target discovery from these files, and short intervals."""
    config = loaded(CONFIG)
    config["global"] |= {
        "scrape_interval": "1s",
        "evaluation_interval": "1s",
        "scrape_timeout": "1s",
    }
    config["rule_files"] = [str(CONFIG.parent / path) for path in config["rule_files"]]
    found = {job["job_name"] for job in config["scrape_configs"]}
    if found != set(targets):
        raise Failed(f"prometheus.yml has the jobs {sorted(found)}")
    for job in config["scrape_configs"]:
        for discovery in [name for name in job if name.endswith("_configs")]:
            del job[discovery]
        files = [str(targets[job["job_name"]])]
        job["file_sd_configs"] = [{"files": files, "refresh_interval": "1s"}]
    return config


def down(server: Prometheus) -> Iterator[str]:
    """Jobs without a target that is up."""
    targets = server.api("targets")["activeTargets"]
    up = {target["labels"]["job"] for target in targets if target["health"] == "up"}
    for job in (JOB, "prometheus"):
        if job not in up:
            yield f"{job}: {[target['lastError'] for target in targets]}"


def other_figures(server: Prometheus, done: Counter[str]) -> Iterator[str]:
    for query, expected in done.items():
        found = [series[""] for series in server.query(f"sum({query})")]
        if found != [str(expected)]:
            yield f"{query} is {found or 'missing'} instead of {expected}"


def failing(server: Prometheus, rules: list[Any]) -> Iterator[str]:
    """Rules that Prometheus has not evaluated, or with an error."""
    found = [rule for group in server.api("rules")["groups"] for rule in group["rules"]]
    if len(found) != len(rules):
        yield f"Prometheus has {len(found)} rules of {len(rules)}"
    for rule in found:
        if rule["health"] != "ok":
            yield f"{rule['name']}: {rule['health']} {rule.get('lastError', '')}"


def recorded_by(rule: Any) -> promql.Selector:
    """A selector for the series that this rule records."""
    labels = rule.get("labels", {}).items()
    return promql.Selector(rule["record"], tuple((label, "=", value) for label, value in labels))


def empty(server: Prometheus, queries: Iterable[Query]) -> Iterator[str]:
    """Queries that find nothing, or lack labels of their legend."""
    for query in queries:
        found = server.query(query.text)
        if not found:
            yield f"{query.where}: {query.text}"
        for label in re.findall(r"\{\{(\w+)\}\}", query.legend):
            if any(label not in series for series in found):
                yield f"{query.where}: the legend shows the label {label}, which is missing"


def missing(server: Prometheus, rules: list[Any], dashboard: Any) -> Iterator[str]:
    """Metrics, labels and label values that a query names and that do not exist."""
    known: dict[promql.Selector, set[str]] = {}

    def labels(selector: promql.Selector) -> set[str]:
        if selector not in known:
            known[selector] = {label for series in server.query(str(selector)) for label in series}
        return known[selector]

    (instance,) = dashboard["templating"]["list"]
    values = re.fullmatch(r"label_values\((.*), (\w+)\)", instance["query"]["query"])
    if not values:
        raise Failed("the variable instance is not label_values(…)")
    variable = Query("variable instance", f"group by ({values[2]}) ({values[1]})")
    queries = [*queries_of_rules(rules), *queries_of_dashboard(dashboard), variable]
    for query in queries:
        # Fails if Prometheus does not accept it.
        server.query(query.text)
        for selector in promql.selectors(query.text):
            # A healthy run has no 5xx response.
            if not labels(selector.without("status")):
                yield f"{query.where}: {selector}"
            # A matcher such as !="x" also holds for a label that does not exist.
            for label, _, _ in selector.matchers:
                if label not in labels(promql.Selector(selector.name, ())):
                    yield f"{query.where}: {selector.name} has no label {label}"
        for grouping in promql.groupings(query.text):
            there = set().union(
                *(labels(selector.without("status")) for selector in grouping.selectors)
            )
            for label in grouping.labels:
                if label not in there:
                    yield f"{query.where}: groups or joins by {label}, which is missing"


def firing(server: Prometheus, rules: list[Any]) -> Iterator[str]:
    """Firing alerts, except those about latency: this machine may be busy."""
    slow = {rule["alert"] for rule in rules if "job_slo:" in rule["expr"] and "alert" in rule}
    for alert in server.api("alerts")["alerts"]:
        if alert["state"] == "firing" and alert["labels"]["alertname"] not in slow:
            yield json.dumps(alert["labels"])


if __name__ == "__main__":
    main()

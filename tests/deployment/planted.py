"""Plants mistakes in copies of the project, and verifies that the checks beside this file detect each.

    make check-deployment

A row is a file, a text in it, its replacement, and the check that must detect it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from project import BINARY, ROOT, files_below

COMPOSE, PROXY = "docker-compose.yml", "deploy/compose/haproxy.cfg"
BASE = "deploy/kubernetes/base"
OVERLAY = "deploy/kubernetes/overlays/production"
ROWS = [
    (COMPOSE, "x-hardened: &hardened\n  logging: *logging\n", "x-hardened: &hardened\n", "compose_services_are_bounded_and_healthy"),
    (COMPOSE, "options: { max-size: 10m, ", "options: { ", "compose_services_are_bounded_and_healthy"),
    (COMPOSE, "cap_add: [CHOWN, ", "cap_add: [NET_RAW, CHOWN, ", "compose_services_are_locked_in"),
    (COMPOSE, "  postgres:\n    <<: *hardened\n", "  postgres:\n    logging: *logging\n    restart: unless-stopped\n", "compose_services_are_locked_in"),
    (COMPOSE, "  watch:\n    internal: true\n", "  watch: {}\n", "compose_services_are_locked_in"),
    (COMPOSE, "networks: [front, data, watch]", "networks: [edge, front, data, watch]", "compose_services_are_locked_in"),
    (COMPOSE, "TRUSTED_PROXIES: ${FRONT_SUBNET:-172.31.213.0/27}", "TRUSTED_PROXIES: 172.16.0.0/12", "compose_services_are_locked_in"),
    (PROXY, "    http-request del-header traceparent\n", "", "compose_agrees_with_the_rest"),
    (PROXY, "%[src,ipmask(24,48)]", "%ci", "compose_agrees_with_the_rest"),
    (PROXY, "%HM %ST", "%HM %HU %ST", "compose_agrees_with_the_rest"),
    (f"{BASE}/networkpolicy.yaml", "          podSelector:\n            matchLabels:\n              app.kubernetes.io/name: redis\n", "", "the_network_is_closed"),
    (f"{BASE}/networkpolicy.yaml", "          podSelector:\n            matchLabels:\n              app.kubernetes.io/name: prometheus\n", "", "the_network_is_closed"),
    (f"{BASE}/migrate.yaml", "    - to:\n        - namespaceSelector:\n            matchLabels:\n              kubernetes.io/metadata.name: database\n", "    - to:\n        - namespaceSelector: {}\n", "the_network_is_closed"),
    (f"{BASE}/deployment.yaml", "            defaultMode: 0440\n", "", "the_secrets_of_pods_are_files"),
    (f"{BASE}/deployment.yaml", "        fsGroup: 65532\n", "", "the_secrets_of_pods_are_files"),
    (f"{BASE}/deployment.yaml", "            - name: IDEMPOTENCY_SECRET_FILE\n              value: /run/secrets/signup-service/idempotency-secret\n", "            - name: IDEMPOTENCY_SECRET\n              valueFrom: { secretKeyRef: { name: signup-service, key: idempotency-secret } }\n", "the_secrets_of_pods_are_files"),
    (f"{BASE}/migrate.yaml", "            secretName: signup-service-migrate\n", "            secretName: signup-service\n", "the_secrets_of_pods_are_files"),
    (f"{OVERLAY}/settings.env", "signup-service/redis-url", "signup-service/redis", "the_secrets_of_pods_are_files"),
    (f"{OVERLAY}/settings.env", "TRUSTED_PROXIES=10.244.0.0/16", "TRUSTED_PROXIES=10.0.0.0/8", "few_addresses_are_trusted"),
    (f"{BASE}/settings.env", "RATE_LIMIT_LOGIN=30/1m", "RATE_LIMIT_LOGIN=off", "the_network_is_closed"),
    (f"{BASE}/settings.env", "PORT=8000\n", "PORT=8000\nREADS=open\n", "the_network_is_closed"),
    (f"{BASE}/settings.env", "PORT=8000\n", "PORT=8000\nADMIN_HOST=0.0.0.0\n", "the_network_is_closed"),
    (f"{BASE}/settings.env", "PUBLIC_URL=https://signup.", "PUBLIC_URL=https://accounts.", "the_network_is_closed"),
    (f"{BASE}/ingress.yaml", "          - path: /auth/refresh\n            pathType: Exact\n", "          - path: /auth\n            pathType: Prefix\n", "the_network_is_closed"),
    ("docs/reference/openapi.json", '"/auth/refresh": {', '"/auth/new": {', "the_network_is_closed"),
    (f"{BASE}/deployment.yaml", "            - name: AUTH_SECRET_FILE\n              value: /run/secrets/signup-service/auth-secret\n", "            - name: AUTH_SECRET\n              value: a-secret-of-thirty-two-bytes-or-more\n", "the_secrets_of_pods_are_files"),
    (COMPOSE, "PUBLIC_URL: ${PUBLIC_URL:-http://127.0.0.1:", "PUBLIC_URL: ${PUBLIC_URL:-http://localhost:", "compose_agrees_with_the_rest"),
    (COMPOSE, "      RATE_LIMIT_LOGIN: ${RATE_LIMIT_LOGIN:-30/1m}\n", "      READS: open\n", "compose_services_are_locked_in"),
    (COMPOSE, "AUTH_SECRET_FILE: /run/secrets/auth_secret", "AUTH_SECRET: a-secret-of-thirty-two-bytes-or-more", "secrets_are_given_by_file"),
    ("scripts/compose-secrets.sh", " auth_secret ", " ", "secrets_are_made_at_random_and_kept"),
    (PROXY, "    default_backend app\n", "    http-request del-header Authorization\n    default_backend app\n", "compose_agrees_with_the_rest"),
    (PROXY, "backend app\n", "cache pages\n    total-max-size 4\nbackend app\n    http-request cache-use pages\n", "compose_agrees_with_the_rest"),
    (COMPOSE, '      OPERATIONS_PORT: "9000"\n', "", "compose_agrees_with_the_rest"),
    (PROXY, "check port 9000 ", "check ", "compose_agrees_with_the_rest"),
    ("prometheus.yml", "        port: 9000\n", "        port: 8000\n", "compose_agrees_with_the_rest"),
    (f"{BASE}/settings.env", "OPERATIONS_PORT=9000\n", "", "the_deployment_serves_in_order"),
    (f"{BASE}/deployment.yaml", "              path: /ready\n              port: operations\n", "              path: /ready\n              port: http\n", "the_deployment_serves_in_order"),
    (f"{BASE}/networkpolicy.yaml", "port: operations", "port: http", "the_network_is_closed"),
    (f"{BASE}/servicemonitor.yaml", "port: operations", "port: http", "selectors_match"),
    (f"{BASE}/ingress.yaml", "          - path: /openapi.json\n", "          - path: /ready\n", "the_network_is_closed"),
    ("scripts/install.sh", "missing=\n", "declare -A missing\n", "the_scripts_are_clean"),
    ("scripts/install.sh", '!= 1 ] && [ "${CI:-}" != true ]', '= 0 ]', "install_asks_first"),
    ("scripts/install.sh", "exit 101", "exit 0", "install_asks_first"),
    ("scripts/test.sh", "[;,]", "[;]", "tests_are_added_up"),
]  # fmt: skip


def found(row: tuple[str, str, str, str]) -> str | None:
    """The failure of a row, if any."""
    file, there, planted, check = row
    with tempfile.TemporaryDirectory(prefix="planted-") as name:
        copy = Path(name)
        for path in files_below("."):
            if not path.startswith(("src/", "docs/images/", "benches/")) or path.startswith("src/config/"):
                (copy / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / path, copy / path)
        text = (copy / file).read_text()
        if there not in text:
            return f"{file} no longer has {there!r}"
        (copy / file).write_text(text.replace(there, planted, 1))
        subprocess.run(["git", "init", "--quiet", copy], check=True)
        done = subprocess.run(
            [sys.executable, copy / "tests/deployment/check.py", check],
            env={**os.environ, "CARGO_TARGET_DIR": str(BINARY.parents[1])},
            text=True,
            capture_output=True,
            check=False,
        )
    if done.returncode != 1 or f"{check}: " not in done.stdout:
        return f"{check} does not detect {planted.strip()!r} in {file}: {done.stdout}{done.stderr}"
    # A check that breaks has detected nothing.
    return f"{check} breaks: {done.stdout}" if "could not be checked" in done.stdout else None


def main() -> int:
    """Plants all mistakes, and prints the undetected ones."""
    with ThreadPoolExecutor(2) as pool:
        mistakes = [mistake for mistake in pool.map(found, ROWS) if mistake]
    print(*mistakes, sep="\n", end="\n" if mistakes else "")
    print(f"deployment, planted mistakes: {len(ROWS) - len(mistakes)} passed, {len(mistakes)} failed")
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main())

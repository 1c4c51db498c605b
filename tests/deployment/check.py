"""Checks the deployment files: Dockerfile, docker-compose.yml, deploy/.

    make check-deployment

Needs no Docker engine and no cluster. `live.py` beside this file runs the same service, database, Redis
and proxy as processes. A new check is a function with `@check`: it yields a line for each mistake.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import scripts  # noqa: F401  its checks
from compose import environment, make_secrets, services
from image import dockerfile, image_health_check
from manifests import both, pod, pod_environment, workloads
from project import BINARY, CHECKS, Mistakes, check


@check
def the_binary_knows_its_commands() -> Mistakes:
    """Each command used in the files exists."""
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
    """The service accepts the values, and then fails only because there is no server to check."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_secrets(folder / "secrets")
        settings: dict[str, dict[str, str]] = {}
        for service in ("app", "migrate"):
            settings[f"docker-compose.yml: {service}"] = {
                variable: value.replace("/run/secrets/", f"{folder}/secrets/")
                for variable, value in environment(services()[service]).items()
            }
        values = {
            "database-url": "database_url",
            "idempotency-secret": "idempotency_secret",
            "auth-secret": "auth_secret",
            "redis-url": "redis_url",
            "mail-url": "mail_url",
        }
        # Compose has no mail server.
        (folder / "secrets/mail_url").write_text("smtp://accounts:secret@smtp-relay.mail")
        for where, documents in both():
            for workload in workloads(documents):
                settings[f"{where}: {workload['kind']}"] = {
                    variable: f"{folder}/secrets/{values[Path(value).name]}" if variable.endswith("_FILE") else value
                    for variable, value in pod_environment(documents, workload).items()
                }
        for where, variables in settings.items():
            # No server listens on port 0.
            env = {**variables, "PORT": "0", "HOST": "127.0.0.1"}
            if "OPERATIONS_PORT" in env:
                # Port 0 would disable the check; no server listens on port 1, either.
                env |= {"OPERATIONS_HOST": "127.0.0.1", "OPERATIONS_PORT": "1"}
            done = subprocess.run(
                [BINARY, "healthcheck"], env=env, cwd=folder, text=True, capture_output=True, check=False
            )
            if "no response from" not in done.stderr:
                yield f"{where}: {done.stderr.strip()}"


def main() -> int:
    """Runs all checks, or the named ones, and prints the mistakes."""
    failed = 0
    chosen = [function for function in CHECKS if function.__name__ in sys.argv[1:] or not sys.argv[1:]]
    for function in chosen:
        try:
            mistakes = list(function())
        except (RuntimeError, OSError, KeyError, ValueError, TypeError, StopIteration) as error:
            mistakes = [f"could not be checked: {type(error).__name__}: {error}"]
        failed += bool(mistakes)
        for mistake in mistakes:
            print(f"{function.__name__}: {mistake}")
    print(f"deployment: {len(chosen) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs the services of docker-compose.yml as processes on free loopback ports, and uses them.

    make check-deployment

The settings, the secrets, the commands, the health checks and the configuration of the proxy are those of
docker-compose.yml; only addresses and paths are changed. Not covered: the images, Jaeger, Prometheus
(see tests/monitoring) and Grafana.
"""

import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from compose import environment, make_secrets, seconds, services
from image import image_health_check
from project import BINARY, ROOT, read

# The time limit in seconds for anything to start or to stop.
PATIENCE = 60
# Signups that one client may send to one replica in the time of a run.
RATE = 20
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Wrong(Exception):
    """A failed expectation."""


def expect(holds: bool, otherwise: str) -> None:
    """Ends the run if a condition does not hold."""
    if not holds:
        raise Wrong(otherwise)


def free_port() -> int:
    """A port that is free at this moment."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def until(what: str, holds: Callable[[], bool], alive: subprocess.Popen[bytes] | None = None) -> None:
    """Waits for a condition, while a process is alive."""
    end = time.monotonic() + PATIENCE
    while not holds():
        expect(alive is None or alive.poll() is None, f"{what}: the process has ended")
        expect(time.monotonic() < end, f"{what}: not within {PATIENCE} s")
        time.sleep(0.05)


def program(name: str) -> str:
    """A program of the machine. Debian keeps some of them out of PATH."""
    folders = [
        os.environ.get("PG_BIN", ""),
        *map(str, Path("/usr/lib/postgresql").glob("*/bin")),
        "/usr/sbin",
    ]
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(folders))
    expect(bool(found), f"the program {name} is missing: scripts/install.sh postgres redis-server haproxy")
    return str(found)


def request(url: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], str]:
    """The status, headers and body of a response; status 0 if there is none."""
    data = None if body is None else json.dumps(body).encode()
    prepared = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    try:
        with OPENER.open(prepared, timeout=15) as response:
            return response.status, {k.lower(): v for k, v in response.headers.items()}, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read().decode()
    except OSError:
        return 0, {}, ""


class Stack:
    """The processes of one run, in one folder."""

    def __init__(self, folder: Path, ends: ExitStack) -> None:
        """Generates the secrets and chooses the ports; starts no process."""
        self.folder = folder
        self.ends = ends
        self.postgres, self.redis, self.proxy, self.proxy_health, unused = (free_port() for _ in range(5))
        self.apps: dict[int, subprocess.Popen[bytes]] = {}
        # The port for probes and metrics, by that for clients.
        self.operations: dict[int, int] = {}
        # The path of the user that signed up, and the access token of this user.
        self.own, self.token = "", ""
        self.secrets = folder / "secrets"
        make_secrets(self.secrets)
        # Hosts of Compose's network, and their replacements here.
        self.places = {
            "@postgres/": f"@127.0.0.1:{self.postgres}/",
            "@redis": f"@127.0.0.1:{self.redis}",
            "/run/secrets/": f"{self.secrets}/",
            # No collector receives the traces, which must not matter.
            "http://jaeger:4317": f"http://127.0.0.1:{unused}",
            "/grants.sql": str(ROOT / "deploy/postgres/grants.sql"),
        }
        for path in self.secrets.iterdir():
            text = self.here(path.read_text())
            path.chmod(0o600)
            path.write_text(text)

    def here(self, text: str) -> str:
        """A text of docker-compose.yml, with the replacements."""
        for there, place in self.places.items():
            text = text.replace(there, place)
        return text

    def command(self, service: str, key: str = "command") -> list[str]:
        """The command of a service."""
        # Compose doubles dollar signs in its output.
        return [self.here(word.replace("$$", "$")) for word in services()[service].get(key) or []]

    def environment(self, service: str) -> dict[str, str]:
        """The variables of a service, and those of every process."""
        variables = {name: self.here(value) for name, value in environment(services()[service]).items()}
        return {"PATH": os.environ["PATH"], "no_proxy": "*", **variables}

    def start(self, name: str, *command: str, **options: Any) -> subprocess.Popen[bytes]:
        """Starts a process that is stopped at the end of the run."""
        log = (self.folder / f"{name}.log").open("ab")
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, **options)
        self.ends.callback(log.close)
        self.ends.callback(stop, process)
        return process

    def healthy(self, service: str, *more: str) -> bool:
        """Whether the health check of a service passes."""
        name, *options = services()[service]["healthcheck"]["test"][1:]
        command = [program(name), *options[:-1], *more, *options[-1:]]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def start_postgres(self) -> None:
        """Starts PostgreSQL like its image: an owner with a password, and a database."""
        environment = self.environment("postgres")
        data = self.folder / "postgres"
        data.mkdir()
        options: dict[str, Any] = {"cwd": data, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"}}
        if os.geteuid() == 0:
            # PostgreSQL refuses root.
            user = pwd.getpwnam("postgres")
            os.chown(data, user.pw_uid, user.pw_gid)
            options |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            self.folder.chmod(0o711)
        owner = environment["POSTGRES_USER"]
        password = Path(environment["POSTGRES_PASSWORD_FILE"]).read_text()
        pwfile = data / "password"
        pwfile.write_text(password)
        pwfile.chmod(0o644)
        made = [program("initdb"), "--pgdata", "data", "--username", owner, "--pwfile", "password"]
        subprocess.run(
            [*made, "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync"],
            check=True,
            capture_output=True,
            **options,
        )
        process = self.start(
            "postgres", program("postgres"), "-D", "data", "-h", "127.0.0.1", "-p", str(self.postgres),
            "-c", "unix_socket_directories=", "-c", "fsync=off", **options,
        )  # fmt: skip
        until("PostgreSQL", lambda: self.healthy("postgres", f"--port={self.postgres}"), process)
        self.sql(owner, "postgres", f"CREATE DATABASE {environment['POSTGRES_DB']}")

    def sql(self, user: str, database: str, statement: str) -> subprocess.CompletedProcess[str]:
        """Runs a statement as a user."""
        secret = {"signup_owner": "postgres_owner_password", "signup": "postgres_password"}[user]
        env = {"PATH": os.environ["PATH"], "PGPASSWORD": (self.secrets / secret).read_text()}
        where = ["--host=127.0.0.1", f"--port={self.postgres}", f"--username={user}", f"--dbname={database}"]
        return subprocess.run(
            [program("psql"), "--no-psqlrc", "--tuples-only", "--no-align", *where, "--command", statement],
            env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def start_redis(self) -> None:
        """Starts Redis with the command of docker-compose.yml."""
        where = ["--bind", "127.0.0.1", "--port", str(self.redis), "--dir", str(self.folder)]
        name, *options = self.command("redis")
        process = self.start("redis", program(name), *options, *where)
        until("Redis", lambda: self.healthy("redis", "-p", str(self.redis)), process)

    def run_once(self, service: str) -> None:
        """Runs a service to completion."""
        command = [*self.command(service, "entrypoint"), *self.command(service)]
        environment = self.environment(service)
        if services()[service]["image"].startswith("signup-service:"):
            command = [str(BINARY), *command]
        else:
            environment |= {"PGHOST": "127.0.0.1", "PGPORT": str(self.postgres)}
        done = subprocess.run(
            command, env=environment, cwd=self.folder, capture_output=True, text=True, check=False
        )
        expect(done.returncode == 0, f"{service}: {done.stderr.strip()}")

    def start_app(self) -> None:
        """Starts another replica."""
        port, operations = free_port(), free_port()
        environment = self.environment("app") | {
            "HOST": "127.0.0.1",
            # The host of the proxy's health check; on loopback no other is served.
            "HTTP_HOSTS": "app",
            "PORT": str(port),
            "OPERATIONS_HOST": "127.0.0.1",
            "OPERATIONS_PORT": str(operations),
            "ADMIN_PORT": "0",
            # The network of the proxy here.
            "TRUSTED_PROXIES": "127.0.0.0/8",
            "RATE_LIMIT_SIGNUP": f"{RATE}/1h",
        }
        # The service must not write any files.
        nowhere = self.folder / f"app-{port}"
        nowhere.mkdir()
        process = self.start(f"app-{port}", str(BINARY), env=environment, cwd=nowhere)
        command = [str(BINARY), *image_health_check()[1:]]

        def healthy() -> bool:
            return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0

        until("the health check of the service", healthy, process)
        expect(not any(nowhere.iterdir()), "the service wrote into its folder")
        self.apps[port] = process
        self.operations[port] = operations

    def mailed(self) -> str | None:
        """The token of the mail to verify an address, out of the output of the replicas."""
        for port in self.apps:
            text = (self.folder / f"app-{port}.log").read_text(errors="replace")
            # Soft line breaks and the sign of equality, of quoted-printable.
            text = re.sub(r"=\r?\n", "", text).replace("=3D", "=")
            if found := re.search(r"/verify-email#([\w-]{64})", text):
                return found[1]
        return None

    def start_proxy(self) -> None:
        """Starts the proxy with its configuration, and the replicas by address instead of by name."""
        text = read("deploy/compose/haproxy.cfg")
        original = self.folder / "original.cfg"
        original.write_text(text)
        checked = subprocess.run(
            [program("haproxy"), "-c", "-f", str(original)], capture_output=True, text=True, check=False
        )
        expect(checked.returncode == 0 and "WARNING" not in checked.stderr, f"haproxy.cfg: {checked.stderr.strip()}")
        template = re.search(
            r"server-template app \d+ app:8000 check port 9000 (.*) resolvers docker init-addr none", text
        )
        expect(template is not None, "haproxy.cfg has no template for the replicas")
        assert template is not None
        servers = [
            f"server app{port} 127.0.0.1:{port} check port {self.operations[port]} {template[1]}"
            for port in self.apps
        ]
        for there, here in {
            template[0]: "\n    ".join(servers),
            "bind :8000": f"bind 127.0.0.1:{self.proxy}",
            "bind 127.0.0.1:8405": f"bind 127.0.0.1:{self.proxy_health}",
        }.items():
            expect(text.count(there) == 1, f"haproxy.cfg does not have {there} once")
            text = text.replace(there, here)
        config = self.folder / "haproxy.cfg"
        config.write_text(text)
        process = self.start("proxy", program("haproxy"), "-db", "-f", str(config))
        url = f"http://127.0.0.1:{self.proxy_health}/health"
        until("the proxy", lambda: request(url)[0] == 200, process)

    def url(self, path: str) -> str:
        """The URL of a path of the service, through the proxy."""
        return f"http://127.0.0.1:{self.proxy}{path}"

    def read(self, **headers: str) -> tuple[int, dict[str, str], str]:
        """The response to the user who reads the own account through the proxy."""
        return request(self.url(self.own), Authorization=f"Bearer {self.token}", **headers)


def stop(process: subprocess.Popen[bytes]) -> int:
    """Terminates a process, kills it if it does not end, and returns its exit code."""
    process.terminate()
    try:
        return process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def signup_works(stack: Stack) -> dict[str, str]:
    """The service's database user may do what a signup and a retry need, and no more. Returns the user's values."""
    address = f"{uuid.uuid4()}@example.org"
    values = {"name": "Ada Lovelace", "email": address, "password": f"a long one, {uuid.uuid4()}"}
    key = str(uuid.uuid4())
    responses = [request(stack.url("/signup"), values, **{"Idempotency-Key": key}) for _ in range(3)]
    expect([response[0] for response in responses] == [201] * 3, f"signups got {responses}")
    expect(len({response[2] for response in responses}) == 1, "the same key got different responses")
    expect("idempotent-replayed" in responses[1][1], "the retry was not replayed")
    expect(request(stack.url("/signup"), values)[0] == 409, "a second account for an address was not refused")
    for port in stack.operations.values():
        ready = json.loads(request(f"http://127.0.0.1:{port}/ready")[2])
        expect(ready["checks"]["redis"]["status"] == "ok", f"Redis is unavailable: {ready}")
        expect(request(f"http://127.0.0.1:{port}/users")[0] == 404, "the operations port serves clients")
    for path in ("/health", "/ready", "/metrics"):
        expect(request(stack.url(path))[0] == 404, f"a client of the proxy can read {path}")
    for statement in ("DELETE FROM user_events", "UPDATE users SET created_at = now()"):
        refused = stack.sql("signup", "signup", statement)
        expect("permission denied" in refused.stderr, f"the user of the service may do this: {statement}")
    refused = stack.sql("signup", "signup", "CREATE TABLE mine ()")
    expect("permission denied" in refused.stderr, "the user of the service may create tables")
    expect(
        stack.sql("signup", "signup", "SELECT count(*) FROM users").stdout.strip() == "1", "not one account"
    )
    return values


def sessions_work(stack: Stack, values: dict[str, str]) -> None:
    """A user who has confirmed the address and logged in on one replica reads and refreshes on each; the proxy changes no credential and keeps no
    response."""
    credentials = {name: values[name] for name in ("email", "password")}
    early = request(stack.url("/auth/login"), credentials)
    expect(early[0] == 403 and "email-not-verified" in early[2], f"a login before the verification got {early}")
    until("a mail", lambda: stack.mailed() is not None)
    verified = request(stack.url("/auth/verify-email"), {"token": stack.mailed(), "password": values["password"]})
    expect(verified[0] == 204, f"a verification got {verified}")
    response = request(stack.url("/auth/login"), credentials, **{"Idempotency-Key": str(uuid.uuid4())})
    expect(response[0] == 200, f"a login got {response}")
    expect(response[1].get("cache-control") == "no-store", f"the tokens of a login may be cached: {response[1]}")
    session = json.loads(response[2])
    stack.own, stack.token = f"/users/{session['user']['id']}", session["access_token"]
    refused = request(stack.url(stack.own))
    expect(refused[0] == 401, f"a user was read without a credential: {refused}")
    expect(stack.read()[0] == 200, f"a user can't read the own account: {stack.read()}")
    expect(request(stack.url("/users"), Authorization=f"Bearer {stack.token}")[0] == 403, "a user may list all users")
    token = session["refresh_token"]
    for port in stack.apps:
        replica = f"http://127.0.0.1:{port}"
        read = request(f"{replica}{stack.own}", Authorization=f"Bearer {stack.token}")
        expect(read[0] == 200, f"the replica on port {port} does not accept the token of another: {read}")
        # Resent with the same key, as if the first response had been lost.
        key = {"Idempotency-Key": str(uuid.uuid4())}
        refreshes = [request(stack.url("/auth/refresh"), {"refresh_token": token}, **key) for _ in range(2)]
        expect([refresh[0] for refresh in refreshes] == [200] * 2, f"refreshes got {refreshes}")
        tokens = [json.loads(refresh[2])["refresh_token"] for refresh in refreshes]
        expect(token not in tokens and len(set(tokens)) == 1, "a resent refresh got another token")
        token = tokens[0]
    wrong = request(stack.url("/auth/login"), credentials | {"password": "not the right one"})
    expect(wrong[0] == 401 and "invalid-credentials" in wrong[2], f"a wrong password got {wrong}")


def clients_are_not_trusted(stack: Stack) -> None:
    """Only the proxy determines the client's address, and clients can't decide what is traced."""
    trace = "0af7651916cd43dd8448eb211c80319c"
    traced = stack.read(traceparent=f"00-{trace}-b7ad6b7169203331-01")
    expect(
        traced[0] == 200 and trace not in str(traced[1:]),
        f"a client decides which requests are traced: {traced}",
    )
    name = "X-Forwarded-For"
    statuses = [request(stack.url("/signup"), {}, **{name: f"203.0.113.{last}"})[0] for last in range(2 * RATE)]
    expect(429 in statuses, f"a client that forges addresses is not limited: {statuses}")


def refused_requests_are_logged(stack: Stack) -> None:
    """The proxy logs requests that never reach a replica, by client network; the service logs all others."""
    with socket.create_connection(("127.0.0.1", stack.proxy)) as client:
        client.sendall(b"GET /users?email=ada@example.org HTTP/1.1\r\nHost: a\r\nno header\r\n\r\n")
        expect(b" 400 " in client.recv(4096), "the proxy accepted an invalid request")
    log = stack.folder / "proxy.log"
    until("the log of the proxy", lambda: " 400 PR" in log.read_text())
    lines = [line for line in log.read_text().splitlines() if " in " in line and "retries" in line]
    expect(
        all(line.startswith("127.0.0.0 ") and "users" not in line for line in lines),
        f"the proxy logs addresses or paths: {lines}",
    )
    served = [line for line in lines if re.search(r" (2\d\d|4(?!00)\d\d) --", line)]
    expect(not served, f"the proxy logs requests that the service logs: {served[:3]}")


def a_stop_is_not_noticed_by_clients(stack: Stack) -> None:
    """A replica stops while clients send requests: all of them are served."""
    over = threading.Event()
    statuses: list[int] = []

    def client() -> None:
        while not over.is_set():
            statuses.append(stack.read()[0])

    clients = [threading.Thread(target=client) for _ in range(4)]
    for thread in clients:
        thread.start()
    try:
        until("clients", lambda: len(statuses) > 20)
        port, leaving = next(iter(stack.apps.items()))
        begun = time.monotonic()
        code = stop(leaving)
        took = time.monotonic() - begun
        so_far = len(statuses)
        until("clients", lambda: len(statuses) > so_far + 20)
    finally:
        over.set()
        for thread in clients:
            thread.join()
    expect(code == 0, f"the replica did not shut down properly: {code}")
    grace = seconds(services()["app"]["stop_grace_period"])
    expect(took < grace, f"the replica took {took:.1f} s to stop, more than stop_grace_period")
    # The proxy stopped sending because of readiness, not because connections failed.
    noticed = f"Server app/app{port} is DOWN, reason: Layer7 wrong status, code: 503"
    log = (stack.folder / "proxy.log").read_text()
    expect(noticed in log, f"the proxy did not notice that the replica was not ready:\n{log}")
    expect(
        set(statuses) == {200},
        f"of {len(statuses)} requests, these failed: {set(statuses) - {200}}",
    )


def main() -> int:
    """Runs everything once."""
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="deployment-")))
        stack = Stack(folder, ends)
        try:
            stack.start_postgres()
            stack.start_redis()
            stack.run_once("migrate")
            stack.run_once("grants")
            # Both may be repeated.
            stack.run_once("migrate")
            stack.run_once("grants")
            stack.start_app()
            stack.start_app()
            stack.start_proxy()
            sessions_work(stack, signup_works(stack))
            a_stop_is_not_noticed_by_clients(stack)
            clients_are_not_trusted(stack)
            refused_requests_are_logged(stack)
        except (Wrong, OSError, subprocess.SubprocessError) as error:
            print(f"live: {error}")
            for log in sorted(folder.glob("*.log")):
                print(
                    f"--- the end of {log.name}", *log.read_text(errors="replace").splitlines()[-5:], sep="\n"
                )
            return 1
    print("deployment, live: 1 passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs the programs of docs/how-to/protect-another-service.md, through a rotation of the signing key: services that
accept access tokens, in Python by PyJWT and in Node by jose.

    target/generators-venv/bin/python tests/openapi/tokens.py      as `make check-openapi` does

They reach the service through a front, as behind a proxy. It counts how often they fetch the keys. It also adds a key
of the test to the set: so there are tokens whose signature is right, and which are wrong in one thing that the service
would never do.

To check another library, put its program on the page, and its command into `PROGRAMS`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import re
import sqlite3
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import generated
import service

PAGE = service.ROOT / "docs/how-to/protect-another-service.md"
JWKS = "/.well-known/jwks.json"
# The programs of the page that accept tokens, and what runs them.
PROGRAMS = {"resource_server.py": "python", "resource_server.mjs": "node"}
# The id of the test's key.
KID = "a-key-of-the-test"
# More than the time for which a key is published before it signs, in microseconds.
PUBLISHED_FOR = 11 * 60 * 1_000_000
INVALID = (401, 'Bearer error="invalid_token"')

# No proxies: all of it is on this machine.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def encoded(value: bytes | dict[str, Any]) -> str:
    """A part of a token."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class Front:
    """What forwards requests to an instance."""

    key: ec.EllipticCurvePrivateKey
    # The address of the instance.
    behind: str = ""
    # How often each program fetched the keys.
    fetches: Counter[str] = field(default_factory=Counter)

    def get(self, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        """The response of the instance."""
        try:
            with OPENER.open(urllib.request.Request(f"http://{self.behind}{path}", headers=headers)) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def keys(self) -> dict[str, dict[str, Any]]:
        """The published keys by their ids."""
        status, body = self.get(JWKS, {})
        assert status == 200, body
        return {key["kid"]: key for key in json.loads(body)["keys"]}

    def public(self) -> dict[str, Any]:
        """The public half of the test's key, as a JWK."""
        own = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key()))
        return {**own, "kid": KID, "alg": "ES256", "use": "sig"}

    @contextlib.contextmanager
    def listening(self) -> Iterator[str]:
        """Its URL."""
        front = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                names = ("Authorization", "User-Agent")
                status, body = front.get(self.path, {name: self.headers[name] for name in names if self.headers[name]})
                if self.path == JWKS:
                    front.fetches["node" if "jose" in self.headers["User-Agent"] else "python"] += 1
                    body = json.dumps({"keys": [*json.loads(body)["keys"], front.public()]}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()


@dataclass(frozen=True)
class ResourceServer:
    """A running program of the page."""

    name: str
    url: str

    def __call__(self, token: str | None, path: str = "/hello") -> tuple[int, Any]:
        """Its response to a token: the status, and of a success the user, otherwise the challenge."""
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        request = urllib.request.Request(self.url + path, headers=headers)
        deadline = time.monotonic() + service.PATIENCE
        while True:
            try:
                with OPENER.open(request, timeout=service.PATIENCE) as response:
                    return response.status, json.load(response)["user"]
            except urllib.error.HTTPError as error:
                # Until the first list of revocations is read.
                if error.code != 503 or time.monotonic() > deadline:
                    return error.code, error.headers["WWW-Authenticate"]
                time.sleep(0.05)

    def must(self, what: str, token: str | None, expected: tuple[int, Any], path: str = "/hello") -> None:
        """Checks its response."""
        found = self(token, path)
        if found != expected:
            raise SystemExit(f"check-openapi: {self.name}: {what}: {found} instead of {expected}")

    def soon(self, what: str, token: str, expected: tuple[int, Any]) -> None:
        """Waits for a response."""
        deadline = time.monotonic() + service.PATIENCE
        while self(token) != expected and time.monotonic() < deadline:
            time.sleep(0.05)
        self.must(what, token, expected)


@contextlib.contextmanager
def resource_servers(folder: Path, issuer: str, key: str) -> Iterator[list[ResourceServer]]:
    """The programs of the page, running."""
    with contextlib.ExitStack() as running:
        servers = []
        for name, program in PROGRAMS.items():
            more = {"ISSUER": issuer, "SERVICE_KEY": key, "PORT": "0", "no_proxy": "*", "NO_PROXY": "*"}
            command = [str(generated.GENERATORS / program), name]
            # What they log of each request is not read.
            process = running.enter_context(
                service.started(command, cwd=folder, env={**os.environ, **more}, stderr=subprocess.DEVNULL)
            )
            assert process.stdout
            port = re.search(r"\d+", process.stdout.readline())
            if not port:
                raise SystemExit(f"check-openapi: {name} did not start")
            servers.append(ResourceServer(name, f"http://127.0.0.1:{port[0]}"))
        yield servers


def flawed(token: str, front: Front) -> dict[str, str]:
    """Tokens that must be refused, by what is wrong with them. `token` is a valid one of the service."""
    head, body, signature = token.split(".")
    header, claims = jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})
    now = int(time.time())
    public = front.keys()[header["kid"]]
    pem = jwt.PyJWK(public).key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def own(*without: str, kid: str = KID, headers: dict[str, Any] | None = None, **changed: Any) -> str:
        rest = {name: value for name, value in {**claims, **changed}.items() if name not in without}
        return jwt.encode(rest, front.key, "ES256", {"kid": kid, "typ": "at+jwt", **(headers or {})})

    def by_hmac(secret: bytes) -> str:
        signed = f"{encoded({**header, 'alg': 'HS256'})}.{body}"
        return f"{signed}.{encoded(hmac.digest(secret, signed.encode(), hashlib.sha256))}"

    stranger = ec.generate_private_key(ec.SECP256R1())
    theirs = {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(stranger.public_key())), "kid": "theirs"}
    return {
        "a token of the test's own key without a flaw": own(),
        "one that expired within the leeway": own(exp=now - 15),
        "a changed signature": f"{head}.{body}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}",
        "a changed claim": f"{head}.{encoded({**claims, 'roles': ['admin']})}.{signature}",
        "alg none": f"{encoded({**header, 'alg': 'none'})}.{body}.",
        "alg none, with the signature": f"{encoded({**header, 'alg': 'none'})}.{body}.{signature}",
        "HS256 by the public key in PEM": by_hmac(pem),
        "HS256 by the public key as JWK": by_hmac(json.dumps(public, separators=(",", ":")).encode()),
        "the kid of another key": own(kid=header["kid"]),
        "a key of its own in the header": jwt.encode(
            claims, stranger, "ES256", {"kid": KID, "typ": "at+jwt", "jwk": theirs}
        ),
        "an extension in crit": own(headers={"crit": ["exp"]}),
        "expired": own(exp=now - 60),
        "of the future": own(iat=now + 600),
        "of another audience": own(aud="https://other.example"),
        "of another issuer": own(iss="https://other.example"),
        "typ JWT": own(headers={"typ": "JWT"}),
        "type refresh": own(type="refresh"),
        **{f"without {name}": own(name) for name in "exp iat iss aud sub sid epoch roles type".split()},
        "more than 4 KiB": own(more="x" * 4096),
        "no JWT": "x",
        "nothing in its parts": "..",
    }


class Run:
    """A database whose instances are replaced one by one, as in a rolling restart: each reads the keys at its start,
    so that the test need not wait for the next reading."""

    def __init__(self, url: str, front: Front, issuer: str, stack: contextlib.ExitStack) -> None:
        self.file = url.removeprefix("sqlite://")
        self.front, self.stack = front, stack
        self.settings = service.settings_of(url, PUBLIC_URL=issuer)
        self.ended: Callable[[], None] = lambda: None

    def restart(self) -> service.OwnService:
        """A new instance, in place of the one before."""
        own = contextlib.ExitStack()
        running = own.enter_context(service.instance(self.settings))
        self.front.behind = running.address
        self.ended()
        self.ended = own.close
        self.stack.callback(own.close)
        return running

    def command(self, *words: str) -> str:
        """The output of a command of the service."""
        command = [str(service.BINARY), *words]
        return subprocess.run(command, env=self.settings, stdout=subprocess.PIPE, text=True, check=True).stdout

    def ten_minutes_pass(self) -> None:
        """Moves the times of the signing keys instead of the clock: their states follow from these alone."""
        with contextlib.closing(sqlite3.connect(self.file)) as database, database:
            database.execute(
                "UPDATE signing_keys SET created_at = created_at - :time, active_from = active_from - :time,"
                " retired_at = retired_at - :time, remove_at = remove_at - :time",
                {"time": PUBLISHED_FOR},
            )


def kid_of(token: str) -> str:
    kid: str = jwt.get_unverified_header(token)["kid"]
    return kid


def rotation(run: Run, folder: Path, issuer: str) -> None:
    front = run.front
    running = run.restart()
    email = running.sign_up()
    session = running.log_in(email)
    user, old = session["user"]["id"], session["access_token"]
    key = running.service_key("tokens:check")
    run.command("keys", "rotate")
    running = run.restart()
    published = front.keys()
    assert len(published) == 2 and kid_of(old) in published, published
    assert kid_of(running.log_in(email)["access_token"]) == kid_of(old), "the successor signs too early"

    with resource_servers(folder, issuer, key) as servers:
        for server in servers:
            server.must("a token", old, (200, user))
            server.must("no token", None, (401, "Bearer"))
            unknown = jwt.encode({}, front.key, "ES256", {"kid": "unknown", "typ": "at+jwt"})
            for _ in range(3):
                server.must("an unknown key", unknown, INVALID)
            refused = 0
            for what, token in flawed(old, front).items():
                right = what.startswith(("a token of the test", "one that expired within"))
                server.must(what, token, (200, user) if right else INVALID)
                refused += not right
            print(f"check-openapi: {server.name} refused {refused} flawed tokens", flush=True)
        fetched = Counter(front.fetches)

        run.ten_minutes_pass()
        running = run.restart()
        new = running.log_in(email)["access_token"]
        assert kid_of(new) in published and kid_of(new) != kid_of(old), "the successor does not sign"
        for server in servers:
            server.must("a token of the new key", new, (200, user))
            server.must("a token of the old key", old, (200, user))
        # They had the new key before the first token of it.
        assert front.fetches == fetched, front.fetches
        # Once each, and perhaps once more for the unknown key, if a run took 30 s until then.
        assert set(fetched) == {"python", "node"} and max(fetched.values()) <= 2, fetched

        run.command("keys", "revoke", kid_of(old))
        running = run.restart()
        assert set(front.keys()) == {kid_of(new)}, front.keys()
    # With the keys of now.
    with resource_servers(folder, issuer, key) as servers:
        for server in servers:
            server.must("a token of the new key", new, (200, user))
            server.must("a token of the revoked key", old, INVALID)
        revocation(run, running, servers[0], key)


def revocation(run: Run, running: service.OwnService, server: ResourceServer, key: str) -> None:
    """What was revoked is refused by the program that follows the list."""
    email = running.sign_up()
    first, second = running.log_in(email), running.log_in(email)
    user = first["user"]["id"]

    def introspected(token: str) -> bool:
        active: bool = running.post("/auth/introspect", {"token": token}, key)["active"]
        return active

    server.must("a user without a role", second["access_token"], (403, 'Bearer error="insufficient_scope"'), "/reports")
    assert introspected(first["access_token"])
    running.post("/auth/logout", {"refresh_token": first["refresh_token"]})
    server.soon("a session that has ended", first["access_token"], INVALID)
    assert not introspected(first["access_token"])
    server.must("another session of the user", second["access_token"], (200, user))

    run.command("users", "grant", email, "support")
    server.soon("a token from before the role", second["access_token"], INVALID)
    refreshed = running.post("/auth/refresh", {"refresh_token": second["refresh_token"]})
    server.must("a user with the role", refreshed["access_token"], (200, user), "/reports")
    run.command("users", "suspend", email)
    server.soon("a suspended user", refreshed["access_token"], INVALID)


def main() -> None:
    print("check-openapi: services that accept access tokens", flush=True)
    front = Front(ec.generate_private_key(ec.SECP256R1()))
    with (
        tempfile.TemporaryDirectory() as folder,
        service.database("sqlite") as url,
        front.listening() as issuer,
        contextlib.ExitStack() as stack,
    ):
        generated.programs(PAGE, Path(folder))
        rotation(Run(url, front, issuer, stack), Path(folder), issuer)


if __name__ == "__main__":
    main()

"""The service sends its mails to a real mail server (aiosmtpd): by STARTTLS and by TLS, with a certificate that is checked;
and, on both databases, to one that is gone, slow, defers and rejects, and accepts a mail as the service is killed. Each
signup gets its 201 in its usual time, and each mail arrives once the server takes it, with one `Message-ID` and in two
copies at most. Mails to a slow domain, however many, do not hold up those to another one.

    make check-mail
"""

from __future__ import annotations

import argparse
import json
import logging
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "openapi"))

from server import Inbox, certificate, free_port, server
from service import database

PASSWORD = "correct horse battery staple"
SECRET = "a secret of thirty-two bytes or more"
# The longest time that a mail may take, once the server takes it.
PATIENCE = 120.0


@dataclass
class Service:
    address: str
    log: Path

    def post(self, path: str, body: dict[str, Any]) -> int:
        request = urllib.request.Request(
            f"http://{self.address}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as response:
            status: int = response.status
            return status

    def sign_up(self, address: str) -> float:
        """Signs up; returns how long it took, in seconds."""
        begun = time.monotonic()
        assert self.post("/signup", {"name": "Ada", "email": address, "password": PASSWORD}) == 201
        return time.monotonic() - begun


@contextmanager
def service(binary: Path, folder: Path, url: str, **settings: str) -> Iterator[tuple[Service, subprocess.Popen[str]]]:
    log = folder / "service.log"
    log.touch()
    # Another one may have logged here before.
    lines_before = len(log.read_text().splitlines())
    with log.open("a") as output:
        process = subprocess.Popen(
            [str(binary)],
            env={
                "DATABASE_URL": url,
                "DATABASE_MIGRATE": "true",
                "IDEMPOTENCY_SECRET": SECRET,
                "AUTH_SECRET": SECRET,
                "PORT": "0",
                "ADMIN_PORT": "0",
                "BCRYPT_COST": "4",
                "LOG_FORMAT": "json",
                **settings,
            },
            stdout=output,
            text=True,
        )
    try:
        begun = time.monotonic()
        while True:
            lines = log.read_text().splitlines()[lines_before:]
            ready = [json.loads(line) for line in lines if '"ready: listening"' in line]
            if ready and process.poll() is None:
                yield Service(ready[-1]["address"], log), process
                return
            assert process.poll() is None and time.monotonic() - begun < 30, log.read_text()
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()


def wait(what: str, condition: Callable[[], bool]) -> None:
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > PATIENCE:
            raise SystemExit(f"check-mail: FAILED: {what}")
        time.sleep(0.05)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--binary", type=Path, required=True)
    binary = arguments.parse_args().binary.resolve()
    # It logs the certificate that the service refuses, and clients that break off.
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        pem, own, key = certificate(folder, "localhost")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(own, key)
        encrypted(binary, folder / "encrypted", context, pem)
        for backend in ("sqlite", "postgres"):
            with database(backend) as place:
                unreliable(binary, folder / backend, place, context, pem)
        slow_domain(binary, folder / "slow", context, pem)
    print("check-mail: 4 passed, 0 failed")


def end_leases(place: str) -> None:
    """As if the time of all leases had passed."""
    if place.startswith("sqlite:"):
        with sqlite3.connect(place.removeprefix("sqlite://")) as opened:
            opened.execute("UPDATE mail_queue SET leased_until = 0 WHERE leased_until IS NOT NULL")
        opened.close()
    else:
        statement = "UPDATE mail_queue SET leased_until = 'epoch' WHERE leased_until IS NOT NULL"
        subprocess.run(["psql", place, "-q", "-c", statement], check=True)


def encrypted(binary: Path, folder: Path, context: ssl.SSLContext, pem: Path) -> None:
    """By STARTTLS with a password, and by TLS; not with a certificate that no authority has signed."""
    for scheme, credentials, wrapped in [("smtp", "accounts%40example.org:p%2Fw@", False), ("smtps", "", True)]:
        inbox, port, here = Inbox(), free_port(), folder / scheme
        here.mkdir(parents=True)
        url = f"{scheme}://{credentials}localhost:{port}"
        place = f"sqlite://{here}/signup.db"
        with server(inbox, port, context, wrapped=wrapped):
            with service(binary, here, place, MAIL_URL=url) as (running, _):
                running.sign_up("ada@example.org")
                wait("the certificate is refused", lambda: "mail server cannot be used" in running.log.read_text())
                assert not inbox.mails
            with service(binary, here, place, MAIL_URL=url, SSL_CERT_FILE=str(pem)):
                wait(f"a mail by {scheme}", lambda: len(inbox.to("ada@example.org")) == 1)
        mail = inbox.mails[0]
        assert mail["Subject"] == "Confirm your address", mail["Subject"]
        assert mail.is_multipart() and mail["Auto-Submitted"] == "auto-generated"


def unreliable(binary: Path, folder: Path, place: str, context: ssl.SSLContext, pem: Path) -> None:
    """A server that is gone; then accepts a mail while the service is killed; then is slow with one mail, defers another and
    rejects a third, and does not hold up the rest."""
    folder.mkdir()
    inbox, port = Inbox(), free_port()
    inbox.responses = {"later@example.org": ["451 later", "250 OK"], "never@example.org": ["550 no such user"]}
    url = f"smtp://accounts%40example.org:p%2Fw@localhost:{port}"
    settings = {"MAIL_URL": url, "SSL_CERT_FILE": str(pem)}
    with service(binary, folder, place, **settings) as (running, process):
        for name in ("ada", "eve"):
            took = running.sign_up(f"{name}@example.org")
            assert took < 2, took
        wait("the server is missed", lambda: "mail server cannot be used" in running.log.read_text())
        # The server has the mail, and the service does not know.
        inbox.accepted = process.kill
        with server(inbox, port, context):
            wait("the service is killed", lambda: process.poll() is not None)
    inbox.accepted = lambda: None
    (first, *_) = inbox.mails
    end_leases(place)
    # Longer than the service waits for a response.
    inbox.delays = {"slow@example.org": [12.0]}
    with server(inbox, port, context), service(binary, folder, place, **settings) as (running, _):
        for name in ("slow", "later", "never", "bob"):
            took = running.sign_up(f"{name}@example.org")
            assert took < 2, took
            if name == "slow":
                wait("the slow mail is under way", lambda: "slow@example.org" in inbox.begun)
        signed_up = time.monotonic()
        wait("the mail to bob", lambda: bool(inbox.to("bob@example.org")))
        # The service waits ten seconds for a response.
        took = time.monotonic() - signed_up
        assert took < 8, f"the slow one held up the others for {took:.1f} s"
        for name in ("ada", "eve", "later", "slow"):
            wait(f"the mail to {name}", lambda name=name: bool(inbox.to(f"{name}@example.org")))
        wait("the rejected one is given up", lambda: "mail given up" in running.log.read_text())
        wait("the first one once more", lambda: len(inbox.to(str(first["To"]))) > 1)
    for name in ("ada", "eve", "bob", "later", "slow"):
        mails = inbox.to(f"{name}@example.org")
        assert len(mails) <= 2, (name, len(mails))
        assert len({mail["Message-ID"] for mail in mails}) == 1, name
    assert not inbox.to("never@example.org")
    assert "example.org" not in (folder / "service.log").read_text(), "no address is in the log"


def slow_domain(binary: Path, folder: Path, context: ssl.SSLContext, pem: Path) -> None:
    """More mails to a slow domain than are under way at once do not hold up one to another domain."""
    folder.mkdir()
    inbox, port = Inbox(), free_port()
    slow = [f"ada{number}@slow.example" for number in range(28)]
    inbox.delays = {address: [9.0] for address in slow}
    url = f"smtp://accounts%40example.org:p%2Fw@localhost:{port}"
    settings = {"MAIL_URL": url, "SSL_CERT_FILE": str(pem), "RATE_LIMIT_SIGNUP": "off"}
    place = f"sqlite://{folder}/signup.db"
    # They wait for the server, so that they are all due before the other one.
    with service(binary, folder, place, **settings) as (running, _):
        for address in slow:
            running.sign_up(address)
    with server(inbox, port, context), service(binary, folder, place, **settings) as (running, _):
        wait("the slow ones are under way", lambda: len(inbox.begun) >= 4)
        running.sign_up("bob@example.org")
        signed_up = time.monotonic()
        wait("the mail to bob", lambda: bool(inbox.to("bob@example.org")))
        # Those before it are slow for a minute in all.
        took = time.monotonic() - signed_up
        assert took < 20, f"a slow domain held up another one for {took:.1f} s"
        inbox.delays.clear()
        wait("the slow ones", lambda: all(inbox.to(address) for address in slow))


if __name__ == "__main__":
    sys.exit(main())

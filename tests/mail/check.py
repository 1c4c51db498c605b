"""The service sends its mails to a real mail server (aiosmtpd): by STARTTLS and by TLS, with a certificate that is checked;
and to one that is gone, slow, defers and rejects, and accepts a mail as the service is killed. Each signup gets its 201 in
its usual time, and each mail arrives once the server takes it, with one `Message-ID` and in two copies at most.

    make check-mail
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import email
import email.policy
import json
import logging
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PASSWORD = "correct horse battery staple"
# The longest time that a mail may take, once the server takes it.
PATIENCE = 120.0


@dataclass
class Inbox:
    """A mail server's handler: what it does is set by the test, what it gets is kept."""

    mails: list[email.message.EmailMessage] = field(default_factory=list)
    # The response to the next mails, by recipient; the last one stays.
    responses: dict[str, list[str]] = field(default_factory=dict)
    # Seconds before the next responses, by recipient.
    delays: dict[str, list[float]] = field(default_factory=dict)
    # Called with each mail that was accepted, before the service gets to know.
    accepted: Callable[[], None] = lambda: None
    lock: threading.Lock = field(default_factory=threading.Lock)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        delays = self.delays.get(envelope.rcpt_tos[0])
        await asyncio.sleep(delays.pop(0) if delays else 0)
        content = envelope.original_content or b""
        mail = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(mail, email.message.EmailMessage)
        with self.lock:
            responses = self.responses.get(envelope.rcpt_tos[0], ["250 OK"])
            response = responses.pop(0) if len(responses) > 1 else responses[0]
            if response.startswith("250"):
                self.mails.append(mail)
        if response.startswith("250"):
            self.accepted()
        return response

    def to(self, address: str) -> list[email.message.EmailMessage]:
        with self.lock:
            return [mail for mail in self.mails if mail["To"] == address]


def certificate(folder: Path, host: str) -> tuple[Path, Path, Path]:
    """The certificate of an authority; that of this host, signed by it; and its key."""
    now = datetime.datetime.now(datetime.UTC)
    names = {who: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, who)]) for who in ("authority", host)}
    keys = {who: ec.generate_private_key(ec.SECP256R1()) for who in names}
    paths = folder / "authority.pem", folder / "host.pem", folder / "host.key"
    for who, path in zip(names, paths, strict=False):
        is_authority = who == "authority"
        made = (
            x509.CertificateBuilder()
            .subject_name(names[who])
            .issuer_name(names["authority"])
            .public_key(keys[who].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if not is_authority:
            made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        signed = made.sign(keys["authority"], hashes.SHA256())
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    paths[2].write_bytes(
        keys[host].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


@contextmanager
def server(inbox: Inbox, port: int, context: ssl.SSLContext | None, *, wrapped: bool = False) -> Iterator[None]:
    """A mail server on this port: with STARTTLS, or with TLS from the beginning."""

    def authenticate(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: LoginPassword) -> AuthResult:
        is_right = data.login == b"accounts@example.org" and data.password == b"p/w"
        return AuthResult(success=is_right)

    options: dict[str, Any] = {"ssl_context": context} if wrapped else {"tls_context": context}
    if context is not None and not wrapped:
        options |= {"require_starttls": True, "auth_required": True, "authenticator": authenticate}
    controller = Controller(inbox, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield
    finally:
        controller.stop()


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
def service(binary: Path, folder: Path, **settings: str) -> Iterator[tuple[Service, subprocess.Popen[str]]]:
    log = folder / "service.log"
    log.touch()
    # Another one may have logged here before.
    lines_before = len(log.read_text().splitlines())
    with log.open("a") as output:
        process = subprocess.Popen(
            [str(binary)],
            env={
                "DATABASE_URL": f"sqlite://{folder}/signup.db",
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
        unreliable(binary, folder / "unreliable", context, pem)
    print("check-mail: 2 passed, 0 failed")


def encrypted(binary: Path, folder: Path, context: ssl.SSLContext, pem: Path) -> None:
    """By STARTTLS with a password, and by TLS; not with a certificate that no authority has signed."""
    for scheme, credentials, wrapped in [("smtp", "accounts%40example.org:p%2Fw@", False), ("smtps", "", True)]:
        inbox, port, here = Inbox(), free_port(), folder / scheme
        here.mkdir(parents=True)
        url = f"{scheme}://{credentials}localhost:{port}"
        with server(inbox, port, context, wrapped=wrapped):
            with service(binary, here, MAIL_URL=url) as (running, _):
                running.sign_up("ada@example.org")
                wait("the certificate is refused", lambda: "mail server cannot be used" in running.log.read_text())
                assert not inbox.mails
            with service(binary, here, MAIL_URL=url, SSL_CERT_FILE=str(pem)):
                wait(f"a mail by {scheme}", lambda: len(inbox.to("ada@example.org")) == 1)
        mail = inbox.mails[0]
        assert mail["Subject"] == "Confirm your address", mail["Subject"]
        assert mail.is_multipart() and mail["Auto-Submitted"] == "auto-generated"


def unreliable(binary: Path, folder: Path, context: ssl.SSLContext, pem: Path) -> None:
    """A server that is gone; then accepts a mail while the service is killed; then is slow with one mail, defers another and
    rejects a third, and does not hold up the rest."""
    folder.mkdir()
    inbox, port = Inbox(), free_port()
    inbox.responses = {"later@example.org": ["451 later", "250 OK"], "never@example.org": ["550 no such user"]}
    url = f"smtp://accounts%40example.org:p%2Fw@localhost:{port}"
    settings = {"MAIL_URL": url, "SSL_CERT_FILE": str(pem)}
    with service(binary, folder, **settings) as (running, process):
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
    # As if the time of its leases had passed.
    with sqlite3.connect(folder / "signup.db") as database:
        database.execute("UPDATE mail_queue SET leased_until = 0 WHERE leased_until IS NOT NULL")
    database.close()
    # Longer than the service waits for a response.
    inbox.delays = {"slow@example.org": [12.0]}
    with server(inbox, port, context), service(binary, folder, **settings) as (running, _):
        for name in ("slow", "later", "never", "bob"):
            took = running.sign_up(f"{name}@example.org")
            assert took < 2, took
        for name in ("ada", "eve", "bob", "later", "slow"):
            wait(f"the mail to {name}", lambda name=name: bool(inbox.to(f"{name}@example.org")))
            if name == "bob":
                assert not inbox.to("slow@example.org"), "the slow one held up the others"
        wait("the rejected one is given up", lambda: "mail given up" in running.log.read_text())
        wait("the first one once more", lambda: len(inbox.to(str(first["To"]))) > 1)
    for name in ("ada", "eve", "bob", "later", "slow"):
        mails = inbox.to(f"{name}@example.org")
        assert len(mails) <= 2, (name, len(mails))
        assert len({mail["Message-ID"] for mail in mails}) == 1, name
    assert not inbox.to("never@example.org")
    assert "example.org" not in (folder / "service.log").read_text(), "no address is in the log"


if __name__ == "__main__":
    sys.exit(main())

"""The service sends its mails to a real mail server (aiosmtpd): by STARTTLS and by TLS, with a certificate that is checked;
and to one that refuses, defers, is slow, breaks off and is gone. Each signup gets its 201 in its usual time, and each mail
arrives once the server takes it, with one `Message-ID` and in few copies.

    make check-mail
"""

from __future__ import annotations

import argparse
import datetime
import email
import email.policy
import json
import socket
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
    # Seconds before each response.
    delay: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        import asyncio

        await asyncio.sleep(self.delay)
        content = envelope.original_content or b""
        mail = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(mail, email.message.EmailMessage)
        with self.lock:
            responses = self.responses.get(envelope.rcpt_tos[0], ["250 OK"])
            response = responses.pop(0) if len(responses) > 1 else responses[0]
            if response.startswith("250"):
                self.mails.append(mail)
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
        lines_before = 0
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
    """A server that is gone, then slow, defers one mail and rejects another; and a service that is killed meanwhile."""
    folder.mkdir()
    inbox, port = Inbox(), free_port()
    inbox.responses = {"later@example.org": ["451 later", "250 OK"], "never@example.org": ["550 no such user"]}
    url = f"smtp://accounts%40example.org:p%2Fw@localhost:{port}"
    names = ["ada", "later", "never", "eve"]
    with service(binary, folder, MAIL_URL=url, SSL_CERT_FILE=str(pem)) as (running, process):
        # No server: signups do not notice.
        for name in names:
            took = running.sign_up(f"{name}@example.org")
            assert took < 2, took
        wait("the server is missed", lambda: "mail server cannot be used" in running.log.read_text())
        inbox.delay = 2.0
        with server(inbox, port, context):
            wait("a mail is under way", lambda: bool(inbox.mails))
            process.kill()
    inbox.delay = 0.0
    with server(inbox, port, context), service(binary, folder, MAIL_URL=url, SSL_CERT_FILE=str(pem)) as (running, _):
        # The lease of the one that was killed has to end first.
        for name in ("ada", "eve", "later"):
            wait(f"the mail to {name}", lambda name=name: bool(inbox.to(f"{name}@example.org")))
        wait("the rejected one is given up", lambda: "mail given up" in running.log.read_text())
    for name in ("ada", "eve", "later"):
        mails = inbox.to(f"{name}@example.org")
        assert len(mails) <= 2, (name, len(mails))
        assert len({mail["Message-ID"] for mail in mails}) == 1, name
    assert not inbox.to("never@example.org")
    assert "example.org" not in (folder / "service.log").read_text(), "no address is in the log"


if __name__ == "__main__":
    sys.exit(main())

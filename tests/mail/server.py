"""A real mail server (aiosmtpd) for tests: with STARTTLS or TLS and a certificate of an authority of its own.

Run as a program, for the runs of tests/chaos, it is moody: it defers some mails, is slow with some, and breaks off before
or after it has taken one. What it takes, and what the service gets to know as taken, is a line of JSON in `mails.ndjson`
before the response. With `--calm` it takes everything.

    python tests/mail/server.py --port 2525 --folder FOLDER --seed 1
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import email
import email.policy
import json
import logging
import random
import socket
import ssl
import threading
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

# A certificate of an authority, that of the server, and its key.
FILES = ("authority.pem", "host.pem", "host.key")


@dataclass
class Inbox:
    """A mail server's handler: what it does is set by the test, what it gets is kept."""

    mails: list[email.message.EmailMessage] = field(default_factory=list)
    # The response to the next mails, by recipient; the last one stays.
    responses: dict[str, list[str]] = field(default_factory=dict)
    # Seconds before the next responses, by recipient.
    delays: dict[str, list[float]] = field(default_factory=dict)
    # The recipients of the mails that have begun to arrive.
    begun: list[str] = field(default_factory=list)
    # Called with each mail that was accepted, before the service gets to know.
    accepted: Callable[[], None] = lambda: None
    lock: threading.Lock = field(default_factory=threading.Lock)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.begun.append(envelope.rcpt_tos[0])
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
    authority, own, key = (folder / name for name in FILES)
    paths = authority, own, key
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
def server(inbox: Inbox | Moody, port: int, context: ssl.SSLContext | None, *, wrapped: bool = False) -> Iterator[None]:
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


class Moody:
    """A mail server's handler that does what comes to its mind, and notes what it takes."""

    def __init__(self, folder: Path, seed: int, *, is_calm: bool) -> None:
        self.mails = folder / "mails.ndjson"
        self.random = random.Random(seed)
        self.is_calm = is_calm

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        mood = 1.0 if self.is_calm else self.random.random()
        if mood < 0.1:
            return "451 later"
        if mood < 0.2:
            await asyncio.sleep(self.random.uniform(0.2, 2))
        is_cut = 0.2 <= mood < 0.35
        if not is_cut or mood < 0.3:
            mail = email.message_from_bytes(envelope.original_content or b"", policy=email.policy.default)
            line = {"to": envelope.rcpt_tos[0], "id": mail["Message-ID"], "subject": mail["Subject"]}
            with self.mails.open("a") as file:
                file.write(json.dumps(line) + "\n")
        if is_cut and server.transport is not None:
            server.transport.abort()
        return "250 OK"


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--folder", type=Path, required=True)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--calm", action="store_true")
    given = arguments.parse_args()
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)
    authority, own, key = (given.folder / name for name in FILES)
    if not key.exists():
        certificate(given.folder, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own, key)
    with server(Moody(given.folder, given.seed, is_calm=given.calm), given.port, context):
        # The test ends it.
        threading.Event().wait()


if __name__ == "__main__":
    main()

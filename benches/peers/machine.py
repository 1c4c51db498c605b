"""Processes, PostgreSQL, and their statistics in `/proc`.

Everything that is started here is stopped here, and folders are removed, also when the script is
interrupted.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

START_LIMIT = 60.0
STOP_LIMIT = 20.0
_TICKS = os.sysconf("SC_CLK_TCK")


class Failure(Exception):
    """A failed check; the text is for the user of the script."""


def free_port() -> int:
    """A port that is free at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def folder(prefix: str) -> Iterator[Path]:
    """A temporary folder, removed at the end regardless of who owns its files."""
    path = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True)
class Process:
    """A program that runs, with its children, until the context ends."""

    pid: int
    log: Path


@contextmanager
def running(
    command: list[str],
    *,
    cwd: Path,
    log: Path,
    ready: Callable[[], bool],
    env: Mapping[str, str] | None = None,
    user: str | None = None,
    stop_by: signal.Signals = signal.SIGTERM,
) -> Iterator[Process]:
    """Starts a program, waits until it is ready, and stops it with its children at the end.

    It has its own process group: a program that does not stop in time is killed with its workers.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            user=user,
            group=None if user is None else pwd.getpwnam(user).pw_gid,
            extra_groups=None if user is None else [],
            start_new_session=True,
        )
    try:
        limit = time.monotonic() + START_LIMIT
        while not ready():
            if process.poll() is not None or time.monotonic() > limit:
                raise Failure(f"{command[0]} did not start:\n{tail(log)}")
            time.sleep(0.1)
        yield Process(process.pid, log)
        if process.poll() is not None:
            raise Failure(f"{command[0]} ended by itself:\n{tail(log)}")
    finally:
        process.send_signal(stop_by)
        try:
            process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def tail(log: Path) -> str:
    """The end of a log."""
    return log.read_text(errors="replace")[-3000:]


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for one in found:
        found.extend(children.get(one, []))
    return found


def _stat(pid: int) -> list[str]:
    """The fields of `/proc/PID/stat` from the state on; empty when the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process and its descendants, including those that have ended."""
    ticks = 0
    for one in family(pid):
        if fields := _stat(one):
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / _TICKS


def busy_seconds() -> float:
    """The CPU time of all programs of the machine since it started."""
    user, nice, system, _, _, irq, softirq = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:8]
    )
    return (user + nice + system + irq + softirq) / _TICKS


def memory_mb(pid: int) -> dict[str, float]:
    """Resident memory of a process and its descendants, in MiB.

    `rss` counts shared memory once for each process; `pss` counts it once.
    """
    sums = {"Rss": 0, "Pss": 0}
    for one in family(pid):
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, value = line.partition(":")
            if name in sums:
                sums[name] += int(value.split()[0])
    return {"rss": round(sums["Rss"] / 1024, 1), "pss": round(sums["Pss"] / 1024, 1)}


def cpu_name() -> str:
    """The model name of the CPU."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


@dataclass(frozen=True)
class Postgres:
    """A throwaway server with its defaults, so every commit waits for the disk."""

    port: int
    pid: int
    version: str

    def connect(self, database: str = "postgres") -> "psycopg.Connection[tuple[str, ...]]":
        """A connection in autocommit mode."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="postgres",
            dbname=database,
            autocommit=True,
            connect_timeout=5,
        )

    @contextmanager
    def database(self, name: str) -> Iterator[str]:
        """An empty database. Pending writes of earlier ones are flushed first."""
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
            connection.execute("CHECKPOINT")
        try:
            yield name
        finally:
            with self.connect() as connection:
                connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Starts a PostgreSQL from the machine's programs, in a temporary folder."""
    programs = _postgres_programs()
    user = _postgres_user()
    with folder("peers-postgres-") as place:
        if user is not None:
            shutil.chown(place, user)
        subprocess.run(
            [str(programs / "initdb"), "-D", str(place / "data"), "-U", "postgres"]
            + ["--auth=trust", "--encoding=UTF8", "--no-sync"],
            cwd=place,
            user=user,
            group=None if user is None else pwd.getpwnam(user).pw_gid,
            extra_groups=None if user is None else [],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=START_LIMIT * 2,
        )
        port = free_port()
        command = [str(programs / "postgres"), "-D", str(place / "data"), "-p", str(port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={place}"]
        version = subprocess.check_output([programs / "postgres", "--version"], text=True)
        server = Postgres(port, 0, version.strip())

        def ready() -> bool:
            try:
                server.connect().close()
            except psycopg.OperationalError:
                return False
            return True

        # Fast shutdown: it does not wait for clients to disconnect.
        with running(
            command,
            cwd=place,
            log=place / "log",
            ready=ready,
            user=user,
            stop_by=signal.SIGINT,
        ) as process:
            yield Postgres(port, process.pid, server.version)


def _postgres_programs() -> Path:
    """Where `scripts/install.sh` looks: PG_BIN, Debian's folders from the newest on, the path."""
    folders = [Path(os.environ["PG_BIN"])] if "PG_BIN" in os.environ else []
    versions = [path for path in Path("/usr/lib/postgresql").glob("*/bin")]
    folders += sorted(versions, key=lambda path: path.parent.name, reverse=True)
    folders += [Path(part) for part in os.environ.get("PATH", "").split(":") if part]
    for path in folders:
        if (path / "initdb").is_file() and (path / "postgres").is_file():
            return path
    raise Failure("PostgreSQL was not found; `make bench-peers` installs it on Debian and Ubuntu")


def _postgres_user() -> str | None:
    """The account that the server runs as, where this process is root: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise Failure("this is root, and there is no account postgres or nobody")

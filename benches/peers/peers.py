"""Signups a second: Django, fastapi-users and PocketBase, and then this service.

Each server runs alone, in a temporary folder, under the same load generator. Before the load, one
signup is made and looked up in the database: its hash must be bcrypt at cost 12 of the password.
After the load, every confirmed account must be there, each with such a hash. A server that fails
a check ends the comparison.

Prints a table in Markdown and writes target/bench/peers.json. `make bench-peers` runs it.
"""

import argparse
import datetime
import json
import os
import platform
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from statistics import median_low
from typing import Any

from contestants import CORES, PASSWORD, Contestant, Place, alternatives, contestants
from machine import (
    Failure,
    Postgres,
    busy_seconds,
    cpu_name,
    cpu_seconds,
    folder,
    free_port,
    memory_mb,
    postgres,
    running,
)

ROOT = Path(__file__).resolve().parents[2]
BUILT = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "production"
RESULT = ROOT / "target" / "bench" / "peers.json"
# Cores that other programs may use before the figures count as disturbed.
QUIET = 0.1

Row = dict[str, Any]


def main() -> int:
    """Runs the comparison."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    try:
        _run(arguments)
    except Failure as failure:
        print(f"peers: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("peers: interrupted", file=sys.stderr)
        return 130
    return 0


def _interrupt(*_: object) -> None:
    """Raises an exception, so that servers are stopped and folders removed."""
    raise KeyboardInterrupt


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Compares signups a second of this service and of its peers.",
        epilog="benches/peers/README.md describes what is compared, and how.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--seconds", type=int, default=60, help="measured time of each")
    parser.add_argument("--warm-up", type=int, default=3, help="seconds of load before it")
    parser.add_argument("--connections", type=int, default=32, help="kept busy at a time")
    parser.add_argument(
        "--rounds", type=int, default=1, help="rounds over all; a row is its median round"
    )
    parser.add_argument(
        "--patience",
        type=int,
        default=0,
        metavar="SECONDS",
        help="how long to wait, before each run, for other programs to be quiet",
    )
    parser.add_argument("--only", metavar="NAME", action="append", help="run only this one; may be repeated")
    parser.add_argument(
        "--alternatives", action="store_true", help="run the peers in other ways, too"
    )
    parser.add_argument(
        "--load-generator", type=Path, default=BUILT / "load-generator", help="the program"
    )
    parser.add_argument(
        "--service", type=Path, default=BUILT / "signup-service", help="the program"
    )
    arguments = parser.parse_args()
    if min(arguments.seconds, arguments.connections, arguments.rounds) < 1:
        parser.error("--seconds, --connections and --rounds must be at least 1")
    arguments.load_generator = arguments.load_generator.resolve()
    arguments.service = arguments.service.resolve()
    found = contestants(arguments.service)
    others = alternatives()
    if arguments.only:
        names = [one.name for one in found + others]
        if wrong := set(arguments.only) - set(names):
            parser.error(f"unknown --only {', '.join(sorted(wrong))}; known are {', '.join(names)}")
        found = [one for one in found + others if one.name in arguments.only]
    elif arguments.alternatives:
        found = others + found
    arguments.contestants = found
    return arguments


def _run(arguments: argparse.Namespace) -> None:
    for program in (arguments.load_generator, arguments.service):
        if not program.is_file():
            raise Failure(f"{program} is missing; `make bench-peers` builds it")
    rounds: dict[str, list[Row]] = {one.name: [] for one in arguments.contestants}
    with postgres() as server:
        for number in range(1, arguments.rounds + 1):
            for one in arguments.contestants:
                _say(f"round {number} of {arguments.rounds}: {one.name}")
                _wait_until_quiet(arguments.patience)
                rounds[one.name].append(_measure(one, server, arguments))
        database = server.version
    rows = [
        {
            "name": one.name,
            "how": one.how,
            "database": one.on,
            "versions": one.versions(),
            **_median(rounds[one.name]),
        }
        for one in arguments.contestants
    ]
    result = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpu": cpu_name(),
            "cores": CORES,
            "system": platform.platform(),
            "python": platform.python_version(),
            "postgresql": database,
        },
        "commit": _commit(),
        "load": {
            "seconds": arguments.seconds,
            "warm_up": arguments.warm_up,
            "connections": arguments.connections,
            "rounds": arguments.rounds,
        },
        "rows": rows,
        "rounds": rounds,
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(_table(rows))
    _say(f"wrote {RESULT.relative_to(ROOT)}")


def _measure(one: Contestant, server: Postgres, arguments: argparse.Namespace) -> Row:
    """One server, from its start to its end."""
    with (
        folder("peers-") as here,
        server.database(f"peers_{uuid.uuid4().hex[:12]}") as database,
    ):
        place = Place(here, free_port(), server, database)
        inherited = ("HOME", "LANG", "PATH", "TZ")
        env = {name: os.environ[name] for name in inherited if name in os.environ}
        # The folders of the peers stay as they are.
        env |= {"PYTHONDONTWRITEBYTECODE": "1"} | one.environment(place)
        for command in one.prepare(place):
            done = subprocess.run(
                command, cwd=here, env=env, capture_output=True, text=True, timeout=120
            )
            if done.returncode != 0:
                raise Failure(f"{one.name}: {command}:\n{done.stdout}{done.stderr}")
        address = f"http://127.0.0.1:{place.port}{one.path}"
        with running(
            one.command(place),
            cwd=here,
            log=here / "log",
            env=env,
            ready=lambda: _responds(address),
        ) as process:
            _check_one_signup(one, place, address)
            mine, all_programs = cpu_seconds(os.getpid()), busy_seconds()
            serving = cpu_seconds(process.pid) + cpu_seconds(server.pid)
            before, begun = len(one.accounts(place)), time.monotonic()
            row = _load(one, address, arguments)
            row["memory_mb"] = memory_mb(process.pid)
            _wait_until_done(process.pid)
            took = time.monotonic() - begun
            serving = cpu_seconds(process.pid) + cpu_seconds(server.pid) - serving
            others = busy_seconds() - all_programs - (cpu_seconds(os.getpid()) - mine)
            made = _check_all_accounts(one, place, before + row["ok"]) - before
            row["cpu_ms_per_signup"] = round(serving / made * 1000, 1)
            row["cores_used_by_others"] = round(max(others, 0) / took, 2)
        if row["cores_used_by_others"] > QUIET:
            _say(
                f"  other programs used {row['cores_used_by_others']} cores meanwhile: "
                "the figures are too low"
            )
        _say(
            f"  {row['requests_per_second']:.2f} signups/s, {row['statuses']}, "
            f"{row['errors']} errors"
        )
        return row


def _wait_until_quiet(patience: int) -> None:
    """Waits until no other program uses the CPU, for at most `patience` seconds."""
    limit = time.monotonic() + patience
    while time.monotonic() < limit:
        before = busy_seconds() - cpu_seconds(os.getpid())
        time.sleep(3)
        if busy_seconds() - cpu_seconds(os.getpid()) - before < 3 * QUIET:
            return


def _wait_until_done(pid: int) -> None:
    """Waits for the hashes of requests that the load generator abandoned.

    Their CPU time and their accounts both count.
    """
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        before = cpu_seconds(pid)
        time.sleep(0.5)
        if cpu_seconds(pid) - before < 0.05:
            return


def _responds(address: str) -> bool:
    """Whether a server at the address responds over HTTP, with any status."""
    try:
        urllib.request.urlopen(address, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _body(one: Contestant, email: str) -> dict[str, str]:
    return {**one.body, "email": email}


def _sign_up(one: Contestant, address: str, email: str) -> tuple[int, dict[str, Any]]:
    headers = {"Content-Type": "application/json"}
    if one.idempotency_key:
        headers["Idempotency-Key"] = str(uuid.uuid4())
    body = json.dumps(_body(one, email)).encode()
    request = urllib.request.Request(address, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, {}


def _check_one_signup(one: Contestant, place: Place, address: str) -> None:
    """Creates one account and checks it, so that only correct servers are compared."""
    email = "first@example.org"
    _must(one, one.accounts(place) == [], "there are accounts before the first signup")
    status, body = _sign_up(one, address, email)
    _must(one, status == one.status, f"the first signup got status {status}")
    _must(one, "id" in body and "password" not in body, f"the response is {body}")
    accounts = one.accounts(place)
    _must(one, [account[0] for account in accounts] == [email], "the account is missing")
    hashed = accounts[0][1]
    _must(one, one.matches(PASSWORD, hashed), f"{hashed} is not bcrypt of the password at cost 12")
    _must(one, not one.matches(PASSWORD + "!", hashed), f"{hashed} matches another password")
    status, _ = _sign_up(one, address, email)
    _must(one, 400 <= status < 500, f"the second signup of an address got status {status}")
    _must(one, len(one.accounts(place)) == 1, "the second signup created an account")


def _check_all_accounts(one: Contestant, place: Place, wanted: int) -> int:
    """Checks that all confirmed accounts exist, each with its own hash at cost 12."""
    accounts = one.accounts(place)
    _must(one, len(accounts) >= wanted, f"{len(accounts)} of {wanted} confirmed accounts")
    hashes = {hashed for _, hashed in accounts}
    _must(one, len(hashes) == len(accounts), "accounts share a hash")
    wrong = [hashed for hashed in hashes if not one.stored.fullmatch(hashed)]
    _must(one, not wrong, f"hashes of a wrong format: {wrong[:3]}")
    return len(accounts)


def _must(one: Contestant, holds: bool, otherwise: str) -> None:
    if not holds:
        raise Failure(f"{one.name}: {otherwise}")


def _load(one: Contestant, address: str, arguments: argparse.Namespace) -> Row:
    """Runs the load generator and returns its figures."""
    command = [str(arguments.load_generator), "signups", "--url", address]
    command += ["--connections", str(arguments.connections)]
    command += ["--seconds", str(arguments.seconds), "--warm-up", str(arguments.warm_up)]
    command += ["--body", json.dumps(one.body), "--content-type", "application/json"]
    if one.idempotency_key:
        command.append("--idempotency-key")
    limit = arguments.seconds + arguments.warm_up + 120
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired as expired:
        raise Failure(f"{one.name}: the load generator took over {limit} s") from expired
    if done.returncode != 0:
        raise Failure(f"{one.name}: the load generator failed:\n{done.stderr}")
    row: Row = json.loads(done.stdout)
    _must(one, row["ok"] > 0, f"no signup was confirmed: {row}")
    return row


def _median(rounds: list[Row]) -> Row:
    """The round with the median rate; of an even number, the lower one.

    Rounds disturbed by other programs count only if there is no other.
    """
    quiet = [row for row in rounds if row["cores_used_by_others"] <= QUIET] or rounds
    middle = median_low(row["requests_per_second"] for row in quiet)
    return next(row for row in quiet if row["requests_per_second"] == middle)


def _commit() -> str:
    """The commit that was measured, if known."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
        )
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def _table(rows: list[Row]) -> str:
    lines = [
        "| | run as | database | signups/s | p50, ms | p99, ms | responses | errors "
        "| CPU, ms a signup | memory, MiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        name, latency = row["name"], row["latency_ms"]
        first = next(iter(row["versions"].items()))
        label = f"**{name}**" if first[0] == "signup-service" else f"{name} {first[1]}"
        statuses = ", ".join(f"{count} × {status}" for status, count in row["statuses"].items())
        lines.append(
            f"| {label} | {row['how']} | {row['database']} | {row['requests_per_second']:.2f} "
            f"| {latency['p50']:,.0f} | {latency['p99']:,.0f} | {statuses} | {row['errors']} "
            f"| {row['cpu_ms_per_signup']:,.0f} | {row['memory_mb']['rss']:,.0f} |"
        )
    return "\n".join(lines)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Generates clients from docs/reference/openapi.json and runs the programs of docs/how-to/generate-a-client.md with
them: Python by openapi-python-client, which must not print warnings, and TypeScript by openapi-typescript, whose types
the compiler checks. The list is read with an administrator's access token.

They reach the service through a front that loses the first response to each key, so that they have to resend.

To add a generator, pin it in clients/requirements.in or clients/package.json, and put its program on the page.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import service

PAGE = service.ROOT / "docs/how-to/generate-a-client.md"
CLIENTS = Path(__file__).with_name("clients")
# The environment of the generators, including node.
GENERATORS = service.TARGET / "generators-venv" / "bin"
# The folder of `npm ci`, with its package files.
NODE = service.TARGET / "openapi-node"
# Headers of one connection, and what is made for each.
HOP_BY_HOP = ("connection", "content-length", "host", "keep-alive", "transfer-encoding")


def run(*command: object, **options: object) -> str:
    """Runs a program; returns its output."""
    result = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{GENERATORS}:{os.environ['PATH']}", "no_proxy": "*", "NO_PROXY": "*"}
        | options.pop("env", {}),  # type: ignore[operator]
        **options,  # type: ignore[call-overload]
    )
    if result.returncode != 0:
        raise SystemExit(f"check-openapi: {command[0]} failed:\n{result.stdout}")
    return result.stdout


def programs(page: Path, folder: Path) -> None:
    """Writes the programs of a page to files, which they name in their first line."""
    for text in re.findall(r"^```(?:python|js|ts)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        name = re.match(r"(?:#|//) (\w+\.\w+):", text)
        assert name, text
        (folder / name[1]).write_text(text)
    (folder / "node_modules").symlink_to(NODE / "node_modules")


def python(document: Path, folder: Path, *arguments: str) -> str:
    output = run(
        GENERATORS / "openapi-python-client", "generate", "--path", document, "--output-path", folder / "python",
        "--fail-on-warning",
    )  # fmt: skip
    if "WARNING" in output:
        raise SystemExit(f"check-openapi: openapi-python-client warns:\n{output}")
    return run(GENERATORS / "python", folder / "example.py", *arguments, env={"PYTHONPATH": str(folder / "python")})


def typescript(document: Path, folder: Path, *arguments: str) -> str:
    shutil.copy(CLIENTS / "tsconfig.json", folder)
    shutil.copy(CLIENTS / "package.json", folder)
    binaries = NODE / "node_modules" / ".bin"
    run(binaries / "openapi-typescript", document, "--output", folder / "schema.d.ts")
    run(binaries / "tsc", "--project", folder)
    return run(GENERATORS / "node", "example.ts", *arguments, cwd=folder)


@dataclass
class Front:
    """What forwards requests to the service, and loses the first response to each key."""

    # The address of the service.
    behind: str
    # The requests with each key: path and body.
    sent: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict)

    @contextlib.contextmanager
    def listening(self) -> Iterator[str]:
        """Its URL."""
        front = self

        class Handler(BaseHTTPRequestHandler):
            def forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
                with contextlib.closing(http.client.HTTPConnection(front.behind, timeout=service.PATIENCE)) as behind:
                    behind.request(self.command, self.path, body, headers)
                    response = behind.getresponse()
                    content = response.read()
                key = self.headers["Idempotency-Key"]
                if key:
                    attempts = front.sent.setdefault(key, [])
                    attempts.append((self.path, body))
                    if len(attempts) == 1:
                        return
                self.send_response_only(response.status)
                for name, value in response.getheaders():
                    if name.lower() not in HOP_BY_HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = forward

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()

    def check(self) -> None:
        """A signup is sent twice, and once more to lose its response; a refresh once, and once more."""
        found = {attempts[0][0]: len(attempts) for attempts in self.sent.values()}
        same = all(len(set(attempts)) == 1 for attempts in self.sent.values())
        if found != {"/signup": 3, "/auth/refresh": 2} or len(self.sent) != 2 or not same:
            raise SystemExit(f"check-openapi: the client resent otherwise: {found}")


def check(document: Path) -> None:
    """Checks that each generator creates a client that works in the program of the page."""
    with service.service("sqlite") as running, tempfile.TemporaryDirectory() as folder:
        token = running.log_in(running.administrator())["access_token"]
        programs(PAGE, Path(folder))
        for generate in (python, typescript):
            print(f"check-openapi: a client in {generate.__name__}", flush=True)
            front = Front(running.address)
            with front.listening() as url:
                output = generate(document, Path(folder), url, token)
            front.check()
            # Beside the administrator, the user of each program so far.
            if not re.fullmatch(r"\S+@example\.org is one of [23] users: (?:true|True)\n", output):
                raise SystemExit(f"check-openapi: the client printed:\n{output}")

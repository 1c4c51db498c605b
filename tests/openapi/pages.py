"""Runs the commands of pages in docs/how-to against the service, in their order, and compares what they print.

A page is a transcript: its ```console blocks have commands after `$ `, and their output below. What differs from run to
run (ids, times, keys) is compared by its form. A `sleep` in a page is a time limit that the service keeps; here it is a
wait until the next output is as expected, so that a slow machine fails no test.

To check another page, write its blocks that way and name it in `PAGES`. The session of README.md is a script, and runs as
it stands.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import service

PAGES = ("revoke-access.md",)

# What differs from run to run. The first is longer than what it contains.
FORMS = (
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
    (r"\d{4}-\d\d-\d\d", "DATE"),
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID"),
    (r"(?<![\w-])[\w-]{43}(?![\w-])", "KID"),
    (r"\bservice key [a-z0-9]{10}\b", "service key KEY"),
)


def form(text: str) -> str:
    """A text without what differs from run to run."""
    for pattern, name in FORMS:
        text = re.sub(pattern, name, text)
    return text.strip()


def transcript(text: str) -> Iterator[tuple[str, str]]:
    """The commands of a page, each with its output."""
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for each in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            # A line that ends with `\` is continued.
            command = re.match(r"(?:.*\\\n)*.*\n", each)
            assert command, each
            yield command[0], each[command.end() :]


@dataclass(frozen=True)
class Shell:
    """A shell that keeps its variables from one command to the next."""

    process: subprocess.Popen[str]

    def run(self, command: str) -> str:
        """The output of a command."""
        assert self.process.stdin and self.process.stdout
        end = uuid.uuid4().hex
        self.process.stdin.write(f"{command}\necho {end}\n")
        self.process.stdin.flush()
        lines: list[str] = []
        for line in self.process.stdout:
            lines.append(line)
            if line.endswith(f"{end}\n"):
                return "".join(lines).removesuffix(f"{end}\n")
        raise SystemExit(f"check-openapi: the shell ended at:\n{command}{''.join(lines)}")


def check(page: str) -> None:
    """Runs the commands of a page."""
    text = (service.ROOT / "docs/how-to" / page).read_text()
    with service.service("sqlite") as running:
        users = {"ada@example.org": [], "root@example.org": ["--role", "admin"]}
        for email, options in users.items():
            command = [str(service.BINARY), "users", "create", "--email", email, "--name", "Ada", "--password-stdin"]
            subprocess.run(
                [*command, *options], env=running.settings, input=service.PASSWORD, stdout=subprocess.PIPE, text=True,
                check=True,
            )  # fmt: skip
        text = text.replace("127.0.0.1:8000", running.address).replace("127.0.0.1:8001", running.administration)
        path = f"{service.BINARY.parent}:{os.environ['PATH']}"
        with service.started(
            ["bash"],
            env={**running.settings, "PATH": path, "no_proxy": "*", "NO_PROXY": "*"},
            stdin=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            count = compare(Shell(process), page, transcript(text))
    print(f"check-openapi: the {count} commands of {page}", flush=True)


def compare(shell: Shell, page: str, commands: Iterator[tuple[str, str]]) -> int:
    """Runs commands and compares their output; returns how many there were."""
    count, waits = 0, False
    for command, expected in commands:
        count += 1
        if command.startswith("sleep "):
            waits = True
            continue
        deadline = time.monotonic() + (service.PATIENCE if waits else 0)
        while form(found := shell.run(command)) != form(expected):
            if time.monotonic() >= deadline:
                raise SystemExit(f"check-openapi: {page}:\n$ {command}{found}-- instead of\n{expected}")
            time.sleep(0.05)
        waits = False
    return count


def check_readme() -> None:
    """Runs the session of README.md, from the login to the logout."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", (service.ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    scripts = [block for block in blocks if "/auth/login" in block]
    assert len(scripts) == 1, "README.md has one session"
    with (
        service.service("sqlite", EMAIL_VERIFICATION="required") as running,
        tempfile.TemporaryDirectory() as folder,
    ):
        data = Path(running.settings["DATABASE_URL"].removeprefix("sqlite://")).parent
        Path(folder, "data").symlink_to(data)
        for email in ("ada@example.org", "grace@example.org"):
            running.post("/signup", {"name": "Ada", "email": email, "password": service.PASSWORD})
        service.until("mails", lambda: len(list(data.glob("mail/*.eml"))) == 2)
        script = scripts[0].replace("127.0.0.1:8000", running.address)
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=folder, stdout=subprocess.PIPE, text=True, check=True,
            env={**os.environ, "no_proxy": "*", "NO_PROXY": "*"},
        )  # fmt: skip
        if not re.fullmatch(r'\{.*"email":"ada@example.org".*\}204\n', result.stdout):
            raise SystemExit(f"check-openapi: the session of README.md printed:\n{result.stdout}")
    print("check-openapi: the session of README.md", flush=True)


def main() -> None:
    check_readme()
    for page in PAGES:
        check(page)


if __name__ == "__main__":
    main()

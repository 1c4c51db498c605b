"""Checks of .github/workflows: the code they run, their rights, and that they run the same as developers.

Two tools check them offline: check-jsonschema with the schema of workflows, and zizmor for vulnerabilities.
"""

import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from project import ROOT, Mistakes, check, files, read, run

TOOLS = Path(sys.executable).parent
# The allowed intervals for version updates.
SCHEDULES = ("daily", "weekly")
# Rights of jobs beyond reading, each with its reason beside it in the workflow.
RIGHTS = {
    (".github/workflows/release.yml", "push"): {"contents": "read", "packages": "write"},
    (".github/workflows/release.yml", "publish"): {"contents": "write", "id-token": "write"},
}
# Commands that compile crates, and so run third-party build scripts; and the one make target that does not.
COMPILES = re.compile(r"\bcargo\b|\.ci/run|\bdocker build\b|release\.py build")
COMPILES_NOTHING = {"release-tools"}

Document = dict[Any, Any]


def workflows() -> Iterator[tuple[str, Document]]:
    """The workflows, each with its file."""
    for file in files(".github/workflows/*"):
        yield file, yaml.safe_load(read(file))


def jobs() -> Iterator[tuple[str, str, Document]]:
    """The jobs of all workflows, each with its file and its name."""
    for file, workflow in workflows():
        for name, job in workflow["jobs"].items():
            yield file, name, job


def commands(job: Document) -> Iterator[tuple[Document, str]]:
    """The commands of a job, each with its step, with variables from the matrix expanded to each value."""
    for row in job.get("strategy", {}).get("matrix", {}).get("include", [{}]):
        for step in job["steps"]:
            command = str(step.get("run", ""))
            for variable, value in step.get("env", {}).items():
                if column := re.fullmatch(r"\$\{\{ matrix\.(\w+) \}\}", str(value)):
                    command = command.replace(f'"${variable}"', str(row[column[1]]))
            if command:
                yield step, command


def make_targets(command: str) -> Iterator[str]:
    """The targets that a command passes to `make`."""
    for line in command.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if "make" in words:
            yield from (word for word in words[words.index("make") + 1 :] if not re.match(r"-|\w+=", word))


def makefile_list(name: str) -> list[str]:
    """The words of a variable of the Makefile."""
    found = re.search(rf"^{name} :=((?:.*\\\n)*.*)$", read("Makefile"), re.MULTILINE)
    return found[1].replace("\\\n", " ").split() if found else []


@check
def workflows_are_valid() -> Mistakes:
    """They match the schemas of their host."""
    for schema, found in (
        ("vendor.github-workflows", files(".github/workflows/*")),
        ("vendor.dependabot", [".github/dependabot.yml"]),
    ):
        done = run(TOOLS / "check-jsonschema", "--builtin-schema", schema, *found)
        if done.returncode:
            yield done.stdout.strip() + done.stderr.strip()


@check
def workflows_are_safe() -> Mistakes:
    """zizmor finds no vulnerabilities."""
    done = run(TOOLS / "zizmor", "--offline", "--quiet", "--no-progress", "--persona", "pedantic", ROOT / ".github")
    if done.returncode:
        yield done.stdout.strip() + done.stderr.strip()


@check
def workflows_are_pinned_and_restricted() -> Mistakes:
    """Actions are pinned by commit, have minimal rights, and leave no credentials behind."""
    pins: dict[str, set[str]] = {}
    for file, workflow in workflows():
        for line in read(file).splitlines():
            if not re.search(r"\buses:", line):
                continue
            pin = re.search(r"\buses: ([\w.-]+/[\w.-]+)(?:/[\w./-]+)?@([0-9a-f]{40} # v\d+\.\d+\.\d+)$", line)
            if pin:
                pins.setdefault(pin[1], set()).add(pin[2])
            else:
                yield f"{file}: this is not a commit with its version beside it: {line.strip()}"
        # YAML reads the key `on` as true.
        events = workflow.get("on", workflow.get(True)) or {}
        if {"pull_request_target", "workflow_run"} & set(events):
            yield f"{file}: untrusted changes run with the rights of the project"
        if workflow.get("permissions") != {"contents": "read"}:
            yield f"{file}: it has more rights than reading"
        if "concurrency" not in workflow:
            yield f"{file}: it may run concurrently"
    for action, found in pins.items():
        if len(found) > 1:
            yield f"{action} is used at several commits: {', '.join(sorted(found))}"
    known = set()
    for file, name, job in jobs():
        known.add((file, name))
        if "permissions" in job and job["permissions"] != RIGHTS.get((file, name)):
            yield f"{file}: the job {name} has rights that are not listed here: {job['permissions']}"
        if "timeout-minutes" not in job:
            yield f"{file}: the job {name} may run for ever"
        for step in job["steps"]:
            if str(step.get("uses", "")).startswith("actions/checkout@"):
                if step.get("with", {}).get("persist-credentials") is not False:
                    yield f"{file}: the job {name} leaves its token in .git"
            if "${{" in str(step.get("run", "")):
                yield f"{file}: the job {name} expands an expression in a script: {step['run']}"
        for _, command in commands(job):
            compiles = COMPILES.search(command) or set(make_targets(command)) - COMPILES_NOTHING
            if "permissions" in job and compiles:
                yield f"{file}: the job {name} has rights, and runs third-party code: {command.strip()}"
    for file, name in sorted(set(RIGHTS) - known):
        yield f"{file} has no job {name}, whose rights are listed here"


@check
def references_resolve() -> Mistakes:
    """Needed jobs, matrix columns, steps and outputs exist: expressions with unknown names are empty."""
    for file, workflow in workflows():
        for name, job in workflow["jobs"].items():
            text = yaml.safe_dump(job, width=10_000)
            needs = [job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", [])
            rows = job.get("strategy", {}).get("matrix", {}).get("include", [{}])
            for other in needs:
                if other not in workflow["jobs"]:
                    yield f"{file}: the job {name} waits for {other}, which is not a job"
            for other, output in re.findall(r"\bneeds\.([\w-]+)\.(?:outputs\.)?([\w-]+)", text):
                outputs = workflow["jobs"].get(other, {}).get("outputs", {})
                if other not in needs or output not in (*outputs, "result"):
                    yield f"{file}: the job {name} uses {output} of {other}, which that job does not provide"
            for column in re.findall(r"\bmatrix\.([\w-]+)", text):
                if any(column not in row for row in rows):
                    yield f"{file}: the job {name} uses {column} of a matrix, which some rows lack"
            steps = {step.get("id") for step in job["steps"]}
            for step in re.findall(r"\bsteps\.([\w-]+)", text):
                if step not in steps:
                    yield f"{file}: the job {name} uses the step {step}, which it does not have"


@check
def commands_exist() -> Mistakes:
    """Every named `make` target and every script run by a workflow exists."""
    known = set(" ".join(re.findall(r"^([a-z][a-z -]*):(?!=)", read("Makefile"), re.MULTILINE)).split())
    named: list[tuple[str, str]] = []
    for file, _, job in jobs():
        for _, command in commands(job):
            named += [(file, target) for target in make_targets(command)]
            for word in re.findall(r"(?<![\w./-])(?:scripts|\.ci)/[\w./-]+", command):
                if not os.access(ROOT / word, os.X_OK):
                    yield f"{file} runs {word}, which is not a program"
    named += [(".ci/run", target) for target in make_targets(read(".ci/run"))]
    for file in files("*.md", ".github/*.md", ".devcontainer/*.json"):
        # In a code span, a command line or a JSON string.
        named += [(file, target) for target in re.findall(r"[`\"](?:[A-Z_]+=\S+ )*make ([a-z][a-z-]*)", read(file))]
    for file, target in named:
        if target not in known:
            yield f"{file} names `make {target}`, which the Makefile does not have"
    if len(named) < 40:
        yield f"only {len(named)} named make targets were found"


@check
def each_part_of_ci_is_a_job() -> Mistakes:
    """The jobs of ci.yml together run the parts of .ci/run, each once."""
    wanted = list(make_targets(read(".ci/run")))
    if "test" not in wanted or not makefile_list("TESTS"):
        yield ".ci/run does not run make test, or the Makefile has no list of TESTS"
        return
    at = wanted.index("test")
    wanted[at : at + 1] = makefile_list("TESTS")
    ran = [
        target
        for file, _, job in jobs()
        if file == ".github/workflows/ci.yml"
        for _, command in commands(job)
        for target in make_targets(command)
    ]
    if sorted(ran) != sorted(wanted):
        yield f".ci/run runs {', '.join(wanted)}, and the jobs of ci.yml {', '.join(ran)}"


@check
def advisories_are_checked_without_a_commit() -> Mistakes:
    """They are checked on a schedule, and every run must have the database."""
    scheduled = False
    for file, workflow in workflows():
        events = workflow.get("on", workflow.get(True)) or {}
        for job in workflow["jobs"].values():
            for step, command in commands(job):
                if "supply-chain" in command or ".ci/run" in command:
                    scheduled |= "schedule" in events
                    if step.get("env", {}).get("ADVISORIES") != "required":
                        yield f"{file}: {command} does not require the advisory database"
    if not scheduled:
        yield "no workflow checks advisories on a schedule"
    if "make supply-chain" not in read(".ci/run"):
        yield ".ci/run does not run make supply-chain"


@check
def updates_are_proposed() -> Mistakes:
    """Dependabot covers each file that names a version."""
    updates = yaml.safe_load(read(".github/dependabot.yml"))["updates"]
    known: set[tuple[str, str]] = set()
    for update in updates:
        folders = update.get("directories", [update.get("directory")])
        known |= {(update["package-ecosystem"], folder) for folder in folders}
        if update["schedule"]["interval"] not in SCHEDULES:
            yield f"dependabot.yml: {update['package-ecosystem']} is checked too rarely"
    wanted = {("github-actions", "/"), ("docker-compose", "/"), ("rust-toolchain", "/")}
    ecosystems = {"Cargo.lock": "cargo", "package-lock.json": "npm", "requirements.in": "pip", "Dockerfile": "docker"}
    for name, ecosystem in ecosystems.items():
        for file in files(name, f"*/{name}"):
            wanted.add((ecosystem, f"/{Path(file).parent}" if "/" in file else "/"))
    for ecosystem, folder in sorted(wanted - known):
        yield f"dependabot.yml lacks {ecosystem} in {folder}"
    for ecosystem, folder in sorted(known - wanted):
        yield f"dependabot.yml has {ecosystem} in {folder}, which does not exist"

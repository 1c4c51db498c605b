"""Checks docs/reference/openapi.json and openapi-administration.json: they are valid OpenAPI 3.1, their examples match
their schemas, generated clients work, and the running service conforms to them, on SQLite and on PostgreSQL, with
credentials and without. Then the programs and commands of pages in docs/how-to: services that accept access tokens,
and the revocation of access.

    make check-openapi
    OPENAPI_SEED=1 OPENAPI_EXAMPLES=500 make check-openapi    a different, longer run
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

import generated
import pages
import service

DOCUMENT = service.ROOT / "docs/reference/openapi.json"
ADMINISTRATION = service.ROOT / "docs/reference/openapi-administration.json"
HOOKS = Path(__file__).with_name("hooks.py")
TOKENS = Path(__file__).with_name("tokens.py")
SEED = os.environ.get("OPENAPI_SEED", "20261121")
# Every one there is.
PERMISSIONS = (
    "users:read", "users:write", "users:erase", "sessions:end", "roles:grant", "roles:write", "keys:write",
    "tokens:check",
)  # fmt: skip
EXAMPLES = int(os.environ.get("OPENAPI_EXAMPLES", "60"))


def parts(node: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of the document, with its path."""
    if isinstance(node, dict):
        yield place, node
        for name, below in node.items():
            yield from parts(below, f"{place}/{name}")
    elif isinstance(node, list):
        for index, below in enumerate(node):
            yield from parts(below, f"{place}/{index}")


def wrong_examples(document: dict[str, Any]) -> Iterator[str]:
    """The examples that do not match their schema."""
    components = document["components"]
    count = 0
    for place, part in parts(document):
        schema = part.get("schema", part)
        if not isinstance(schema, dict):
            continue
        if schema is part and place.split("/")[-2:-1] not in (["schemas"], ["properties"]):
            continue
        values = [part["example"]] if "example" in part else []
        for example in (part.get("examples") or {}).values() if isinstance(part.get("examples"), dict) else []:
            if "$ref" in example:
                example = components["examples"][example["$ref"].rsplit("/", 1)[1]]
            values.append(example["value"])
        values += schema["examples"] if isinstance(schema.get("examples"), list) else []
        validator = Draft202012Validator({**schema, "components": components})
        for value in values:
            count += 1
            yield from (f"{place}: {error.message}" for error in validator.iter_errors(value))
    if count < 30:
        yield f"only {count} examples were found"


def live(backend: str, document: Path, has_credentials: bool) -> bool:
    """Whether schemathesis finds that the service on this database conforms to the document, with access tokens (of the
    administration: with a service key), or without any credential."""
    credentials = "with" if has_credentials else "without"
    # Without a credential, an operation that needs one has few responses.
    examples = EXAMPLES if has_credentials else EXAMPLES // 4 + 1
    print(
        f"check-openapi: {document.name}, {backend}, {credentials} credentials, seed {SEED}, {examples} examples an"
        " operation",
        flush=True,
    )
    print(
        "check-openapi: the last page of a list has no next one; schemathesis reports each below as"
        " «Failed to extract data from response», which is not a failure",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as mails, service.service(backend, MAIL_URL=f"file:{mails}") as running:
        more = {
            "OPENAPI_ADDRESS": running.address,
            "OPENAPI_MAILS": mails,
            "OPENAPI_ADMINISTRATION": running.administration,
        }
        address = running.address if document == DOCUMENT else running.administration
        if has_credentials and document == DOCUMENT:
            more["OPENAPI_ADMINISTRATOR"] = running.administrator()
        elif has_credentials:
            more["OPENAPI_SERVICE_KEY"] = running.service_key(*PERMISSIONS)
        result = subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")),
                "run", str(document),
                "--url", f"http://{address}",
                "--checks", "all",
                "--seed", SEED,
                "--max-examples", str(examples),
                "--max-response-time", "10",
                "--continue-on-failure",
                "--generation-database", "none",
                "--no-color",
            ],
            env={**os.environ, **more, "SCHEMATHESIS_HOOKS": str(HOOKS), "no_proxy": "*", "NO_PROXY": "*"},
            # Keeps its cache out of the project's folder.
            cwd=service.TARGET,
            check=False,
        )  # fmt: skip
    return result.returncode == 0


def main() -> None:
    for path in (DOCUMENT, ADMINISTRATION):
        document = json.loads(path.read_text())
        OpenAPIV31SpecValidator(document).validate()
        wrong = list(wrong_examples(document))
        if wrong:
            raise SystemExit(f"check-openapi: examples of {path.name} do not match their schemas:\n" + "\n".join(wrong))
    generated.check(DOCUMENT)
    # With the packages of a service that accepts tokens, which are none of this environment.
    subprocess.run([generated.GENERATORS / "python", TOKENS], check=True)
    pages.check_readme()
    for page in pages.PAGES:
        pages.check(page)
    # Without a credential the database is not asked, so one of them suffices.
    runs = [
        ("sqlite", DOCUMENT, True),
        ("sqlite", DOCUMENT, False),
        ("postgres", DOCUMENT, True),
        ("sqlite", ADMINISTRATION, False),
        ("postgres", ADMINISTRATION, True),
    ]
    failed = [run for run in runs if not live(*run)]
    if failed:
        names = [
            f"{document.name}, {backend}, {'with' if has_credentials else 'without'} credentials"
            for backend, document, has_credentials in failed
        ]
        raise SystemExit(f"check-openapi: FAILED, seed {SEED}: {'; '.join(names)}")
    # The documents with their examples and clients, the services that accept tokens, the README, the pages, and the runs.
    print(f"check-openapi: {3 + len(pages.PAGES) + len(runs)} passed, 0 failed")


if __name__ == "__main__":
    main()

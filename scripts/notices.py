#!/usr/bin/env python3
"""Writes the components of the binary and their licences: sbom.cdx.json, a bill of materials in CycloneDX 1.6,
and licences.txt, the licence texts that must accompany the binary.

    scripts/notices.py target/notices

The image has both in /usr/share/doc/signup-service. The crates are those of the binary according to `cargo metadata`,
build scripts and macros included, and their texts are those that they were published with. It needs no Python
packages, as it also runs in the build image. `make supply-chain` checks its output.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NAME = "signup-service"
# File names of licences in the package of a crate.
TEXT = re.compile(r"(un)?licen[cs]e|copying|notice|copyright", re.IGNORECASE)
NO_TEXT = {".rs", ".jsx", ".js", ".json", ".toml"}
RULE = "=" * 100
# Bundled in crates without being crates themselves: the crate, and the component's name and licence.
WITHIN = {
    "aws-lc-sys": ("AWS-LC", "Apache-2.0 OR ISC"),
    "libsqlite3-sys": ("SQLite", "blessing"),
    "utoipa-swagger-ui-vendored": ("Swagger UI", "Apache-2.0"),
}

Package = dict[str, Any]


def host() -> str:
    """The target triple of the binary."""
    output = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    return next(line.split()[1] for line in output.splitlines() if line.startswith("host:"))


def metadata() -> dict[str, Any]:
    """Cargo's metadata of the workspace."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", host()]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout
    found: dict[str, Any] = json.loads(output)
    return found


def parts(known: dict[str, Any]) -> dict[str, list[str]]:
    """The packages of the binary by id, each with its dependencies."""
    nodes = {node["id"]: node for node in known["resolve"]["nodes"]}
    todo = [
        package["id"]
        for package in known["packages"]
        if package["name"] == NAME and package["id"] in known["workspace_members"]
    ]
    found: dict[str, list[str]] = {}
    while todo:
        package = todo.pop()
        if package not in found:
            needs = nodes[package]["deps"]
            found[package] = [
                need["pkg"] for need in needs if any(kind["kind"] != "dev" for kind in need["dep_kinds"])
            ]
            todo += found[package]
    return found


def purl(package: Package) -> str:
    """The package URL of a crate."""
    return f"pkg:cargo/{package['name']}@{package['version']}"


def licence(package: Package) -> str:
    """Its licence, in current SPDX syntax."""
    return str(package["license"]).replace("/", " OR ") if package["license"] else "NOASSERTION"


def sbom(known: dict[str, Any], made_of: dict[str, list[str]]) -> dict[str, Any]:
    """The bill of materials."""
    packages = {package["id"]: package for package in known["packages"]}
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    sums = {(entry["name"], entry["version"]): entry.get("checksum") for entry in lock}

    def component(package: Package) -> dict[str, Any]:
        found: dict[str, Any] = {
            "type": "application" if package["name"] == NAME else "library",
            "bom-ref": purl(package),
            "name": package["name"],
            "version": package["version"],
            "licenses": [{"expression": licence(package)}],
            "purl": purl(package),
        }
        if checksum := sums[package["name"], package["version"]]:
            found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        if package["name"] in WITHIN:
            name, expression = WITHIN[package["name"]]
            within = {"type": "library", "name": name, "licenses": [{"expression": expression}]}
            if name == "SQLite":
                # A dedication to the public domain; CycloneDX accepts it as an id.
                within["licenses"] = [{"license": {"id": expression}}]
            found["components"] = [within]
        return found

    ordered = sorted(made_of, key=lambda package: purl(packages[package]))
    whole = [component(packages[package]) for package in ordered]
    (service,) = (part for part in whole if part["type"] == "application")
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        # Deterministic for the same content.
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(whole)).urn,
        "version": 1,
        "metadata": {"component": service},
        "components": [part for part in whole if part is not service],
        "dependencies": [
            {
                "ref": purl(packages[package]),
                "dependsOn": sorted({purl(packages[need]) for need in made_of[package]}),
            }
            for package in ordered
        ],
    }


def published(package: Package) -> Iterator[tuple[str, str]]:
    """The licence texts that a crate was published with, each with its file name."""
    folder = Path(package["manifest_path"]).parent
    for path in sorted(folder.rglob("*")):
        if TEXT.match(path.name) and path.is_file() and path.suffix not in NO_TEXT:
            yield str(path.relative_to(folder)), path.read_text(errors="replace").strip()
    for archive in sorted(folder.rglob("*.zip")):
        with zipfile.ZipFile(archive) as files:
            for name in sorted(files.namelist()):
                if TEXT.fullmatch(Path(name).name) and name.count("/") == 1:
                    yield f"{archive.name}: {name}", files.read(name).decode(errors="replace").strip()


def texts(known: dict[str, Any], made_of: dict[str, list[str]]) -> Iterator[tuple[Package, list[tuple[str, str]]]]:
    """The texts for each crate. A crate without any gets that of a sibling from its repository, or the text of
    Apache-2.0, which is the same for all crates; otherwise it is an error."""
    packages = [package for package in known["packages"] if package["id"] in made_of and package["source"]]
    repository = {
        package["id"]: re.sub(r"(/tree/.*|\.git|/)$", "", package["repository"] or "") for package in packages
    }
    own = {package["id"]: list(published(package)) for package in packages}
    for package in packages:
        found = own[package["id"]]
        if not found:
            siblings = (
                (other["name"], own[other["id"]])
                for other in packages
                if own[other["id"]]
                and repository[other["id"]]
                and repository[other["id"]] == repository[package["id"]]
                and licence(other) == licence(package)
            )
            name, borrowed = next(siblings, ("", []))
            found = [(f"{file}, of {name}", text) for file, text in borrowed]
        if not found and "Apache-2.0" in licence(package):
            found = [("Apache-2.0", (ROOT / "LICENSE-APACHE").read_text().strip())]
        if not found:
            raise SystemExit(f"notices: {package['name']} {package['version']} has no licence text")
        yield package, found


def document(known: dict[str, Any], made_of: dict[str, list[str]]) -> str:
    """All texts, each once, with the crates that it applies to."""
    users: dict[str, list[str]] = {}
    for package, found in texts(known, made_of):
        for file, text in found:
            users.setdefault(text, []).append(
                f"{package['name']} {package['version']}, {licence(package)} ({file})"
            )
    out = [
        f"{NAME} contains the packages below, besides its own code. Their licences require these texts."
    ]
    for text, names in sorted(users.items(), key=lambda entry: (-len(entry[1]), entry[1])):
        out.append("\n".join([RULE, *sorted(names), RULE, "", text]))
    return "\n\n".join(out) + "\n"


def main() -> None:
    """Writes both files into a folder."""
    folder = Path(sys.argv[1])
    known = metadata()
    made_of = parts(known)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sbom.cdx.json").write_text(json.dumps(sbom(known, made_of), indent=1) + "\n")
    (folder / "licences.txt").write_text(document(known, made_of))


if __name__ == "__main__":
    main()

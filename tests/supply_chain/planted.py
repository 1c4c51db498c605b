"""Plants mistakes in copies of the project, and verifies that the checks beside this file detect each.

    make supply-chain

A row is a file, a text in it, its replacement, and the check that must detect it. Mistakes in deny.toml are planted by
check.py itself.
"""

import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

from project import ROOT, files

CI, RELEASE = ".github/workflows/ci.yml", ".github/workflows/release.yml"
ADVISORIES, DEPENDABOT = ".github/workflows/advisories.yml", ".github/dependabot.yml"
OWNERS, CONTAINER, NEXTEST = ".github/CODEOWNERS", ".devcontainer/devcontainer.json", ".config/nextest.toml"
SCRIPT = "scripts/release/release.py"
CHECKOUT = "actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2"
ROWS = [
    (CI, "    runs-on: ubuntu-24.04\n", "    runs_on: ubuntu-24.04\n", "workflows_are_valid"),
    (CI, "    needs: make\n", "    needs: made\n", "references_resolve"),
    (CI, "needs.make.result", "needs.made.result", "references_resolve"),
    (CI, "${{ matrix.minutes }}", "${{ matrix.minute }}", "references_resolve"),
    (RELEASE, "      - id: push\n", "      - id: pushed\n", "references_resolve"),
    (RELEASE, "needs.push.outputs.image", "needs.push.outputs.digest", "references_resolve"),
    (RELEASE, '"$GITHUB_REF_NAME" --verify-tag', '"${{ github.ref_name }}" --verify-tag', "workflows_are_safe"),
    (DEPENDABOT, "package-ecosystem: npm", "package-ecosystem: npn", "workflows_are_valid"),
    (CI, CHECKOUT, "actions/checkout@v6", "workflows_are_pinned_and_restricted"),
    (CI, "de0fac2e45", "de0fac2e46", "workflows_are_pinned_and_restricted"),
    (CI, "  contents: read\n", "  contents: write\n", "workflows_are_pinned_and_restricted"),
    (CI, "persist-credentials: false", "persist-credentials: true", "workflows_are_pinned_and_restricted"),
    (CI, '      - run: make "$TARGET"\n', "      - run: make ${{ matrix.target }}\n", "workflows_are_pinned_and_restricted"),
    (CI, "    timeout-minutes: 5\n", "", "workflows_are_pinned_and_restricted"),
    (ADVISORIES, "concurrency:\n  group: advisories\n  cancel-in-progress: true\n", "", "workflows_are_pinned_and_restricted"),
    (RELEASE, "      packages: write", "      packages: write\n      actions: write", "workflows_are_pinned_and_restricted"),
    (RELEASE, "    needs: test\n", "    needs: test\n    permissions:\n      contents: write\n", "workflows_are_pinned_and_restricted"),
    (RELEASE, "run: make release-tools", "run: make release-tools lint", "workflows_are_pinned_and_restricted"),
    (RELEASE, "run: make release-tools", "run: make release-tool", "commands_exist"),
    (RELEASE, "run: .ci/run", "run: .ci/runs", "commands_exist"),
    (CI, "target: check-openapi", "target: check-openap", "commands_exist"),
    (".ci/run", "make lint", "make lints", "commands_exist"),
    ("CONTRIBUTING.md", "`make check`", "`make checks`", "commands_exist"),
    (CI, "          - { name: monitoring, target: check-monitoring, cache: debug, minutes: 30 }\n", "", "each_part_of_ci_is_a_job"),
    ("Makefile", "TESTS := test-rust test-chaos ", "TESTS := test-rust ", "each_part_of_ci_is_a_job"),
    (CI, "          ADVISORIES: required\n", "", "advisories_are_checked_without_a_commit"),
    (ADVISORIES, "  schedule:\n    - cron: \"17 5 * * *\"\n", "", "advisories_are_checked_without_a_commit"),
    (DEPENDABOT, '["/", "/.devcontainer"]', '["/"]', "updates_are_proposed"),
    (DEPENDABOT, "      - /scripts/release\n", "", "updates_are_proposed"),
    (OWNERS, "/src/hashing/  ", "/src/hash/  ", "code_owners_exist"),
    (OWNERS, "/deny.toml ", "/deny.toml/", "code_owners_exist"),
    (OWNERS, "/Dockerfile                      @signup-service/maintainers", "/Dockerfile maintainers", "code_owners_exist"),
    (OWNERS, "*                                @signup-service/maintainers\n", "", "code_owners_exist"),
    (OWNERS, "@signup-service/security\n", "@signup/security\n", "code_owners_exist"),
    (CONTAINER, '"init": true,', '"init": true', "the_devcontainer_matches_ci"),
    (CONTAINER, "[8000]", "[8080]", "the_devcontainer_matches_ci"),
    (CONTAINER, '"developer"', '"root"', "the_devcontainer_matches_ci"),
    (CONTAINER, "make programs", "make servers", "the_devcontainer_matches_ci"),
    (".devcontainer/Dockerfile", "rust:1.95.0-trixie", "rust:1.95.0-bookworm", "the_devcontainer_matches_ci"),
    (".devcontainer/Dockerfile", "FROM ${BUILD_IMAGE}", "FROM rust:latest", "the_devcontainer_matches_ci"),
    (".devcontainer/Dockerfile", "USER 1000", "USER root", "the_devcontainer_matches_ci"),
    (NEXTEST, "[profile.ci]", "[profile.ci", "nextest_accepts_its_configuration"),
    ("README.md", "(SECURITY.md)", "(SECURITIES.md)", "links_between_documents_resolve"),
    ("docs/explanation/glossary.md", "#request-ids", "#request-id", "links_between_documents_resolve"),
    (".ci/run", "export COVERAGE=1", "export COVER=1", "coverage_is_kept_in_ci"),
    (CI, "          COVERAGE: 1\n", "", "coverage_is_kept_in_ci"),
    ("tests/coverage/check.py", '/command\\.rs$", 95.0', '/command\\.rs$", 59.0', "coverage_is_kept_in_ci"),
    (NEXTEST, "binary(=fuzz)", "binary(=fuzzing)", "nextest_accepts_its_configuration"),
    (NEXTEST, "binary(=chaos) | binary(=fuzz) | binary(=memory) | binary(=timing)", "binary(=memory) & test(no_such)", "nextest_accepts_its_configuration"),
    (NEXTEST, "test-threads = 4", "test-thread = 4", "nextest_accepts_its_configuration"),
    (NEXTEST, "test-threads = 4\n", "", "nextest_bounds_every_test"),
    (NEXTEST, "retries = 0", "retries = 2", "nextest_bounds_every_test"),
    (NEXTEST, 'period = "30s", terminate-after = 6', 'period = "30s"', "nextest_bounds_every_test"),
    (NEXTEST, "fail-fast = false", "fail-fast = true", "nextest_bounds_every_test"),
    ("Cargo.toml", '[[bin]]\nname = "signup-service"', '[[bin]]\nname = "signup"', "a_release_names_what_exists"),
    ("Dockerfile", "/out/signup-service /signup-service", "/out/signup-service /bin/signup-service", "a_release_names_what_exists"),
    (RELEASE, "          - { target: aarch64-unknown-linux-gnu, ", "          - { target: aarch64-unknown-linux-musl, ", "a_release_names_what_exists"),
    (RELEASE, "          fail-on-cache-miss: true\n", "", "a_release_names_what_exists"),
    (SCRIPT, '"aarch64-unknown-linux-gnu": "linux/arm64",', "", "a_release_names_what_exists"),
    (SCRIPT, 'member.mtime, member.uid, member.gid, ', "member.uid, member.gid, _, ", "a_release_is_complete"),
    (SCRIPT, "components = [service, *bill", "components = [*bill", "a_release_is_complete"),
    (SCRIPT, 'hexdigest()', 'hexdigest().upper()[1:]', "a_release_is_complete"),
    (SCRIPT, '"digest": {"gitCommit": revision()}', '"digest": {}', "a_release_is_complete"),
    (SCRIPT, "built_from = bases()", "built_from = {}", "a_release_is_complete"),
    (SCRIPT, 'if tag != f"v{version()}":', 'if not tag:', "only_this_version_is_released"),
    (SCRIPT, "if not notes():", "if False:", "only_this_version_is_released"),
]  # fmt: skip


# The number of rows tried at once, each in a separate copy.
COPIES = 2


def copied(folder: Path) -> Path:
    """A copy of the project."""
    for path in files("."):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, folder / path)
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    return folder


def found(row: tuple[str, str, str, str], copy: Path) -> str | None:
    """The failure of a row, if any. Restores the copy afterwards."""
    file, there, planted, check = row
    text = (copy / file).read_text()
    if there not in text:
        return f"{file} no longer has {there!r}"
    (copy / file).write_text(text.replace(there, planted, 1))
    command = [sys.executable, copy / "tests/supply_chain/check.py", check]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    (copy / file).write_text(text)
    if done.returncode != 1 or f"{check}: " not in done.stdout:
        return f"{check} does not detect {planted.strip()!r} in {file}: {done.stdout}{done.stderr}"
    # A check that breaks has detected nothing.
    return f"{check} breaks: {done.stdout}" if "could not be checked" in done.stdout else None


def main() -> int:
    """Plants all mistakes, and prints the undetected ones."""
    with tempfile.TemporaryDirectory(prefix="planted-") as name, ThreadPoolExecutor(COPIES) as pool:
        copies: Queue[Path] = Queue()
        for number in range(COPIES):
            copies.put(copied(Path(name) / str(number)))

        def tried(row: tuple[str, str, str, str]) -> str | None:
            copy = copies.get()
            try:
                return found(row, copy)
            finally:
                copies.put(copy)

        mistakes = [mistake for mistake in pool.map(tried, ROWS) if mistake]
    print(*mistakes, sep="\n", end="\n" if mistakes else "")
    print(f"supply-chain, planted mistakes: {len(ROWS) - len(mistakes)} passed, {len(mistakes)} failed")
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs all Rust tests with counters in the service, and checks how much of each layer they run.

    make coverage      builds, runs, prints a table, writes target/coverage/uncovered.txt

A line counts once some test runs it, in the process of the test or in the service that the test starts. Tests
themselves do not count: neither `#[cfg(test)]` modules nor the files that hold nothing else. What is left is the share
of each layer below; it fails where one is less than its bar. The list of what is not covered is the point of it: a line
on it is a case without a test, or code that nothing needs.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "target/coverage"
PROFILES = FOLDER / "profiles"

# The layers: a name, the files that are its own (the first row that matches), and the least share in per cent.
LAYERS = [
    ("domain", r"src/domain/", 100.0),
    ("commands", r"src/slices/.*/command\.rs$", 95.0),
    ("stores and faces", r"src/(slices/|http/|idempotency/)", 85.0),
    ("mail", r"src/mail/", 85.0),
    ("the rest", r"src/", 70.0),
]

# Files of tests only.
TESTS = re.compile(r"/(contract|testing|tests|walk)\.rs$")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", action="store_true", help="run no test; report on what the last run left")
    if not parser.parse_args().report:
        run_tests()
    counts = counts_of(export(executables()))
    return report(counts)


def environment() -> dict[str, str]:
    """For Cargo: a compiler that counts, and a file of counters for each process."""
    return os.environ | {
        "RUSTC_WORKSPACE_WRAPPER": str(Path(__file__).with_name("rustc.sh")),
        "LLVM_PROFILE_FILE": str(PROFILES / "%p%c.profraw"),
    }


def run_tests() -> None:
    for old in PROFILES.glob("*.profraw"):
        old.unlink()
    PROFILES.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["cargo", "test", "--workspace", "--locked"], cwd=ROOT, env=environment(), check=False)
    if done.returncode:
        sys.exit(done.returncode)


def executables() -> list[str]:
    """What was built with counters."""
    build = ["cargo", "test", "--workspace", "--locked", "--no-run", "--message-format", "json"]
    done = subprocess.run(build, cwd=ROOT, env=environment(), check=True, stdout=subprocess.PIPE, text=True)
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    # A process of the build may have written counters as well: a build script, for one.
    return [message["executable"] for message in messages if message.get("executable")]


def tool(name: str) -> str:
    """A program of LLVM, out of the environment that runs this."""
    return str(Path(sysconfig.get_path("purelib")) / "llvm/bin" / name)


def export(programs: list[str]) -> str:
    """All counters together, in the format of lcov."""
    merged = FOLDER / "merged.profdata"
    profiles = FOLDER / "profiles.txt"
    profiles.write_text("".join(f"{profile}\n" for profile in sorted(PROFILES.glob("*.profraw"))))
    # `all`: a profile that cannot be read is left out, and all of them must be bad to fail: a process that was killed
    # while it started has half a header.
    merge = [tool("llvm-profdata"), "merge", "--sparse", "--failure-mode=all", "--input-files", str(profiles)]
    done = subprocess.run([*merge, "--output", str(merged)], check=True, stderr=subprocess.PIPE, text=True)
    unreadable = len(re.findall(r"\.profraw: ", done.stderr))
    print(f"counters of {len(list(PROFILES.glob('*.profraw')))} processes, {unreadable} of them unreadable")
    objects = [argument for program in programs for argument in ("--object", program)]
    cover = [tool("llvm-cov"), "export", "--format=lcov", f"--instr-profile={merged}", *objects]
    return subprocess.run(cover, check=True, stdout=subprocess.PIPE, text=True).stdout


def counts_of(lcov: str) -> dict[str, dict[int, int]]:
    """How often each line of each file of the service was run."""
    counts: dict[str, dict[int, int]] = defaultdict(dict)
    file, last = "", 0
    for row in lcov.splitlines():
        if row.startswith("SF:"):
            path = Path(row.removeprefix("SF:"))
            file = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""
            if not file.startswith("src/") or TESTS.search(file):
                file = ""
            else:
                last = first_test_line(file)
        elif row.startswith("DA:") and file:
            line, count, *_ = map(int, row.removeprefix("DA:").split(","))
            if line < last:
                counts[file][line] = max(count, counts[file].get(line, 0))
    return counts


def first_test_line(file: str) -> int:
    """Where the tests of a file begin: they are at its end."""
    lines = (ROOT / file).read_text().splitlines()
    begin = len(lines) + 1
    for number, line in enumerate(lines, 1):
        if re.fullmatch(r"mod \w*tests\w* \{", line):
            if lines[number - 2] != "#[cfg(test)]" or lines[-1] != "}" or "}" in lines[number:-1]:
                sys.exit(f"{file}: its tests are not one module at its end, behind #[cfg(test)]")
            begin = number - 1
    return begin


def ranges(lines: list[int]) -> Iterator[str]:
    """Numbers as `3-5` and `9`."""
    begin = previous = None
    for line in [*lines, None]:
        if previous is not None and line == previous + 1:
            previous = line
            continue
        if begin is not None:
            yield f"{begin}-{previous}" if previous != begin else str(begin)
        begin = previous = line


def layer_of(file: str) -> int:
    return next(index for index, (_, pattern, _) in enumerate(LAYERS) if re.match(pattern, file))


def report(counts: dict[str, dict[int, int]]) -> int:
    lines = [0] * len(LAYERS)
    covered = [0] * len(LAYERS)
    missing: dict[int, list[str]] = defaultdict(list)
    for file, of_file in sorted(counts.items()):
        layer = layer_of(file)
        lines[layer] += len(of_file)
        covered[layer] += sum(1 for count in of_file.values() if count)
        if left := sorted(line for line, count in of_file.items() if not count):
            missing[layer].append(f"{file}: {', '.join(ranges(left))}")
    below = 0
    listing = []
    print(f"\n{'layer':<18}{'lines':>7}{'covered':>9}{'share':>8}{'bar':>7}")
    for layer, (name, _, bar) in enumerate(LAYERS):
        share = 100 * covered[layer] / lines[layer] if lines[layer] else 0.0
        fails = share < bar
        below += fails
        print(f"{name:<18}{lines[layer]:>7}{covered[layer]:>9}{share:>7.1f}%{bar:>6.0f}%{'  too low' if fails else ''}")
        listing += [f"# {name}: {share:.1f} %", *missing[layer], ""]
        if fails:
            print("\n".join(f"    {row}" for row in missing[layer]))
    (FOLDER / "uncovered.txt").write_text("\n".join(listing))
    print(f"what is not covered: {(FOLDER / 'uncovered.txt').relative_to(ROOT)}")
    print(f"coverage: {len(LAYERS) - below} passed, {below} failed")
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())

"""Counts the instructions of a round of bcrypt-lanes, in a fresh crate, with each build profile.

    make check-kernel

How fast the kernel is hangs on what the compiler inlines. So a crate that depends on it is built with every kind of
link-time optimisation and several numbers of units, and its work is counted by callgrind, which counts the same
whatever else the machine does. A round that takes more than LIMIT instructions has lost an inlined function. And the
code of the lanes must be there once: twice, it does not fit where a processor keeps decoded instructions (4,096 of
them in AMD's Zen 3), and then it is up to a fifth slower, by where it comes to lie. Then the same with kernels whose
functions are not inlined, or that have the code twice, which must be found.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KERNEL = ROOT / "crates/bcrypt-lanes"

LANES = 8
# Of a round of one lane, on x86-64.
LIMIT = 17.0
# Bytes of the code of all lanes: some 2,400 instructions.
LIMIT_BYTES = 14 * 1024
# bcrypt: two expansions of 521 blocks an iteration, 16 rounds a block.
ROUNDS = 2 * 521 * 16

ONCE = "for keys in [passwords, salts] {\n            expand(states, keys);\n        }"
TWICE = "expand(states, passwords); expand(states, salts);"

LTO = ["off", "false", "thin", "fat"]
UNITS = [1, 4, 16]

MANIFEST = """\
[package]
name = "fresh"
version = "0.1.0"
edition = "2024"

[dependencies]
bcrypt-lanes = {{ path = "{kernel}" }}

[workspace]
"""

MAIN = """\
use bcrypt_lanes::{{Cost, Error, Lane, advance}};

fn main() -> Result<(), Error> {{
    let cost = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(4);
    let lanes: Result<Vec<Lane>, Error> = (0..{lanes})
        .map(|number| Lane::new(b"correct horse", [number; 16], Cost::new(cost)?))
        .collect();
    let mut lanes = lanes?;
    let begun = std::time::Instant::now();
    advance(&mut lanes, u32::MAX);
    println!("{{}}", begun.elapsed().as_secs_f64() * 1e3);
    for lane in lanes {{
        std::hint::black_box(lane.finish().map_err(|_| ()).is_ok());
    }}
    Ok(())
}}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time", action="store_true", help="measure the time of 8 hashes, too; on a quiet machine")
    arguments = parser.parse_args()
    # In the repository, so that its toolchain is used.
    (ROOT / "target").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as folder:
        return check(Path(folder), arguments.time)


def check(folder: Path, timed: bool) -> int:
    fresh = crate(folder / "fresh", KERNEL)
    programs = {(lto, units): build(fresh, lto, units) for lto in LTO for units in UNITS}
    failed = 0
    for (lto, units), program in programs.items():
        count, size = round_of(program), size_of(program)
        failed += count > LIMIT or size > LIMIT_BYTES
        print(f"lto = {lto}, {units} units: {count:.2f} instructions a round, {size} bytes", flush=True)
    if failed:
        print(f"kernel: a round takes more than {LIMIT:g} instructions, or all more than {LIMIT_BYTES} bytes", file=sys.stderr)
    if timed:
        show_times(programs)
    count = round_of(planted(folder / "not-inlined", "#[inline(always)]", "#[inline(never)]"))
    print(f"planted, not inlined: {count:.2f} instructions a round, which must be more than {LIMIT:g}")
    if count <= LIMIT:
        print("kernel: a round that is not inlined was not found", file=sys.stderr)
        failed += 1
    size = size_of(planted(folder / "twice", ONCE, TWICE))
    print(f"planted, twice: {size} bytes, which must be more than {LIMIT_BYTES}")
    if size <= LIMIT_BYTES:
        print("kernel: code that is there twice was not found", file=sys.stderr)
        failed += 1
    print(f"kernel: {len(programs) + 2 - failed} passed, {failed} failed")
    return 1 if failed else 0


def planted(folder: Path, right: str, wrong: str) -> Path:
    """A program with a kernel that has a mistake."""
    kernel = folder / "kernel"
    shutil.copytree(KERNEL, kernel, ignore=shutil.ignore_patterns("fuzz", "target"))
    manifest = kernel / "Cargo.toml"
    text = manifest.read_text().replace("[lints]\nworkspace = true\n", "")
    manifest.write_text(text)
    source = kernel / "src/blowfish.rs"
    text = source.read_text()
    if right not in text:
        sys.exit(f"kernel: blowfish.rs does not have {right}")
    source.write_text(text.replace(right, wrong))
    return build(crate(folder / "fresh", kernel), "off", 16)


def crate(folder: Path, kernel: Path) -> Path:
    """A crate that hashes with eight lanes at a given cost."""
    (folder / "src").mkdir(parents=True)
    (folder / "Cargo.toml").write_text(MANIFEST.format(kernel=kernel))
    (folder / "src/main.rs").write_text(MAIN.format(lanes=LANES))
    # The versions of the workspace, which are there already.
    shutil.copy(ROOT / "Cargo.lock", folder)
    return folder


def build(folder: Path, lto: str, units: int) -> Path:
    target = folder / f"target-{lto}-{units}"
    profile = {"CARGO_PROFILE_RELEASE_LTO": lto, "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": str(units)}
    environment = os.environ | profile | {"CARGO_TARGET_DIR": str(target)}
    # Not the wrapper that counts lines: its counters are instructions, too.
    environment.pop("RUSTC_WORKSPACE_WRAPPER", None)
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=folder, env=environment, check=True)
    return target / "release/fresh"


def size_of(program: Path) -> int:
    """The bytes of the function that advances eight lanes, which is the largest of its kind."""
    symbols = subprocess.run(["nm", "--print-size", program], capture_output=True, text=True, check=True).stdout
    sizes = [int(line.split()[1], 16) for line in symbols.splitlines() if "advance_together" in line]
    if not sizes:
        sys.exit("kernel: nm finds no code of the lanes")
    return max(sizes)


def round_of(program: Path) -> float:
    """The instructions of one round of one lane: twice the iterations less the iterations."""
    more = instructions(program, 5) - instructions(program, 4)
    return more / ((32 - 16) * LANES * ROUNDS)


def instructions(program: Path, cost: int) -> int:
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, str(cost)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if collected is None:
        sys.exit(f"kernel: callgrind counted nothing:\n{done.stderr}")
    return int(collected.group(1))


def show_times(programs: dict[tuple[str, int], Path]) -> None:
    """The best time of each, with rounds that alternate between them."""
    best = dict.fromkeys(programs, float("inf"))
    for _ in range(40):
        for profile, program in programs.items():
            done = subprocess.run([program, "10"], capture_output=True, text=True, check=True)
            best[profile] = min(best[profile], float(done.stdout))
    least = min(best.values())
    for (lto, units), time in best.items():
        print(f"lto = {lto}, {units} units: {time:.1f} ms, {time / least:.3f} of the best")


if __name__ == "__main__":
    sys.exit(main())

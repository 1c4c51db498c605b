#!/usr/bin/env python3
"""Regenerates the list of common passwords: src/domain/common_passwords/list.txt.

    npm pack @zxcvbn-ts/language-common@4.1.3 && tar xzf zxcvbn-ts-language-common-4.1.3.tgz
    scripts/common-passwords.py package/src/passwords.json \
        ~/.cargo/registry/src/*/zxcvbn-3.1.1/src/frequency_lists.rs

Both lists are ordered by how often a password was found in leaks. The result keeps passwords of 8 characters or
more (shorter ones are refused for their length), in lower case, sorted by bytes, each once.
"""

import json
import pathlib
import re
import sys

LIST = pathlib.Path(__file__).parent.parent / "src/domain/common_passwords/list.txt"
MIN_CHARS = 8


def main() -> None:
    by_npm, by_crate = map(pathlib.Path, sys.argv[1:])
    passwords = [str(password) for password in json.loads(by_npm.read_text("utf-8"))]
    found = re.search(r'const PASSWORDS: &str = "([^"]*)";', by_crate.read_text("utf-8"))
    assert found, f"{by_crate} has no list of passwords"
    passwords += found[1].split(",")
    folded = {password.lower() for password in passwords}
    kept = sorted(password.encode() for password in folded if len(password) >= MIN_CHARS)
    LIST.write_bytes(b"".join(password + b"\n" for password in kept))
    print(f"{len(kept)} passwords, {LIST.stat().st_size} bytes")


if __name__ == "__main__":
    main()

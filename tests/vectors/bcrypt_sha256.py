"""Prints the vectors of `src/hashing/bcrypt_sha256.rs`, computed by passlib.

    python3 -m venv target/passlib
    target/passlib/bin/pip install passlib==1.7.4 'bcrypt<4'
    target/passlib/bin/python tests/vectors/bcrypt_sha256.py

The salt of the n-th vector is the sixteen bytes starting with 16 * n.
"""

from passlib.hash import bcrypt_sha256
from passlib.utils.binary import bcrypt64

DIGITS = "0123456789"

# The password is the first, repeated by the second, followed by the third; the last is the cost.
VECTORS = [
    ("", 0, "", 4),
    ("password", 1, "", 4),
    ("correct horse battery staple", 1, "", 12),
    (DIGITS, 7, "a", 4),  # 71 bytes
    (DIGITS, 7, "ab", 4),  # 72: the limit of plain bcrypt
    (DIGITS, 7, "abc", 4),  # 73
    (DIGITS, 7, "abd", 4),  # the same first 72 bytes
    (DIGITS, 102, "abcd", 4),  # 1024: the longest
    ("🦀", 64, "", 4),  # 256 bytes
    ("Příliš žluťoučký kůň, 例え", 1, "", 4),
]

for number, (unit, times, tail, cost) in enumerate(VECTORS):
    salt = bcrypt64.encode_bytes(bytes(range(16 * number, 16 * number + 16))).decode()
    made = bcrypt_sha256.using(version=2, ident="2b", rounds=cost, salt=salt)
    print(f'("{unit}", {times}, "{tail}", {cost}, "{made.hash(unit * times + tail)}"),')

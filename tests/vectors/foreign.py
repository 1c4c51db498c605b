"""Prints `src/hashing/stored/vectors.json`: password hashes made by the libraries of others, with their passwords.

    python3 -m venv target/foreign
    target/foreign/bin/pip install passlib==1.7.4 bcrypt==4.0.1 Django==5.2.19 argon2-cffi==25.1.0 \\
        cryptography==50.0.2
    target/foreign/bin/python tests/vectors/foreign.py > src/hashing/stored/vectors.json

It is not run by tests: each run makes new salts. What is not made by a library is made by the documented
formula: Keycloak's credentials (https://www.keycloak.org/docs-api/latest/javadocs/, `PasswordCredentialData`
and `PasswordSecretData`), and Firebase's scrypt (https://github.com/firebase/scrypt), whose published vector
is the first of its kind here and is checked.
"""

import base64
import hashlib
import importlib.metadata
import json
import os
import sys

import argon2
import bcrypt
import django
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from django.conf import settings
from passlib import hash as passlib
from passlib.context import CryptContext
from passlib.utils.binary import ab64_encode

settings.configure(PASSWORD_HASHERS=[])
django.setup()

from django.contrib.auth import hashers  # noqa: E402  (it reads the settings)

SHORT = "correct horse battery staple"
ACCENTS = "Příliš žluťoučký kůň, 例え 🦀"
LONG = "0123456789" * 8  # 80 bytes: bcrypt reads 72 of them
PASSWORDS = [SHORT, ACCENTS, LONG]

READERS = CryptContext(
    ["bcrypt", "bcrypt_sha256", "django_bcrypt_sha256", "argon2", "scrypt", "pbkdf2_sha256", "pbkdf2_sha512"]
)

vectors = []


def add(source, password, text, right=(), stored=None, readable=True):
    """A hash of a password. Also each of `right` matches it. It is stored as it is, or in another form.

    What is stored must be readable by passlib, so that an export is.
    """
    # Differs within the first 72 bytes.
    wrong = "X" + password[1:]
    stored = stored or text
    if readable:
        assert READERS.verify(password, stored) and not READERS.verify(wrong, stored), stored
    vectors.append(
        {
            "source": source,
            "password": password,
            "hash": text,
            "also": list(right),
            "wrong": wrong,
            "stored": stored,
        }
    )


def b64(data):
    return base64.b64encode(data).decode()


def plain(data):
    return b64(data).rstrip("=")


def ab64(data):
    return ab64_encode(data).decode()


def of_passlib(name, **options):
    handler = getattr(passlib, name).using(**options)
    for password in PASSWORDS:
        add(f"passlib {name} {options}", password, handler.hash(password))


for ident in ["2a", "2b", "2y"]:
    handler = passlib.bcrypt.using(ident=ident, rounds=5, truncate_error=False)
    for password in PASSWORDS:
        cut = password.encode()[:72].decode()
        also = [cut, cut + "anything"] if cut != password else []
        add(f"passlib bcrypt {ident}", password, handler.hash(password), also)
add("bcrypt", SHORT, bcrypt.hashpw(SHORT.encode(), bcrypt.gensalt(5)).decode())
of_passlib("bcrypt_sha256", version=1, rounds=5)
of_passlib("bcrypt_sha256", version=1, rounds=5, ident="2a")
of_passlib("bcrypt_sha256", version=2, rounds=5)
of_passlib("django_bcrypt_sha256", rounds=5)
of_passlib("argon2", type="ID", memory_cost=256, rounds=2, parallelism=3)
of_passlib("argon2", type="I", memory_cost=64, rounds=1, parallelism=1)
of_passlib("scrypt", rounds=8, block_size=8, parallelism=2)
of_passlib("pbkdf2_sha256", rounds=1000)
of_passlib("pbkdf2_sha512", rounds=1000, salt_size=7)


def of_django(name, stored, **options):
    hasher = type(name, (getattr(hashers, name),), options)()
    for password in PASSWORDS:
        text = hasher.encode(password, hasher.salt())
        add(f"Django {name}", password, text, stored=stored(text))


def stored_pbkdf2(text):
    _, iterations, salt, digest = text.split("$")
    return f"$pbkdf2-sha256${iterations}${ab64(salt.encode())}${ab64(base64.b64decode(digest))}"


def stored_scrypt(text):
    _, n, salt, r, p, digest = text.split("$")
    digest = base64.b64decode(digest)[:32]
    return f"$scrypt$ln={int(n).bit_length() - 1},r={r},p={p}${plain(salt.encode())}${plain(digest)}"


of_django("PBKDF2PasswordHasher", stored_pbkdf2, iterations=1000)
of_django("Argon2PasswordHasher", lambda text: text.removeprefix("argon2"), memory_cost=256, time_cost=2, parallelism=2)
of_django("ScryptPasswordHasher", stored_scrypt, work_factor=2**8)
of_django("BCryptSHA256PasswordHasher", str, rounds=5)

for kind in [argon2.Type.ID, argon2.Type.I]:
    for length in [16, 32, 64]:
        hasher = argon2.PasswordHasher(time_cost=2, memory_cost=128, parallelism=2, hash_len=length, type=kind)
        for password in PASSWORDS:
            add(f"argon2-cffi {kind} {length}", password, hasher.hash(password))
old = argon2.low_level.hash_secret(SHORT.encode(), b"0123456789abcdef", 2, 64, 1, 32, argon2.Type.I, version=16)
add("argon2-cffi version 16", SHORT, old.decode())
# Without the version, as it was before there were two.
add("argon2-cffi version 16", SHORT, old.decode().replace("$v=16", ""), stored=old.decode())


def phc_pbkdf2(name, length, password):
    salt = os.urandom(16)
    digest = hashlib.pbkdf2_hmac(name, password.encode(), salt, 1000, length)
    text = f"$pbkdf2-{name}$i=1000,l={length}${plain(salt)}${plain(digest)}"
    stored = f"$pbkdf2-{name}$1000${ab64(salt)}${ab64(digest)}"
    # passlib wants the whole output of the hash.
    readable = length == hashlib.new(name).digest_size
    add(f"PHC pbkdf2-{name} {length}", password, text, stored=stored, readable=readable)


def keycloak(algorithm, iterations, parameters, salt, digest, password, stored):
    credential = {
        "type": "password",
        "createdDate": 1700000000000,
        "secretData": json.dumps({"value": b64(digest), "salt": b64(salt), "additionalParameters": {}}),
        "credentialData": json.dumps(
            {"hashIterations": iterations, "algorithm": algorithm, "additionalParameters": parameters}
        ),
    }
    add(f"Keycloak {algorithm}", password, json.dumps(credential), stored=stored)


for password in PASSWORDS:
    for name, length in [("sha256", 32), ("sha512", 32), ("sha512", 64)]:
        phc_pbkdf2(name, length, password)
    for name in ["sha256", "sha512"]:
        salt = os.urandom(16)
        digest = hashlib.pbkdf2_hmac(name, password.encode(), salt, 1000, 64)
        cut = digest[: hashlib.new(name).digest_size]
        stored = f"$pbkdf2-{name}$1000${ab64(salt)}${ab64(cut)}"
        keycloak(f"pbkdf2-{name}", 1000, {}, salt, digest, password, stored)
    salt = os.urandom(16)
    digest = argon2.low_level.hash_secret_raw(password.encode(), salt, 5, 128, 1, 32, argon2.Type.ID)
    parameters = {"hashLength": ["32"], "memory": ["128"], "type": ["id"], "version": ["1.3"], "parallelism": ["1"]}
    stored = f"$argon2id$v=19$m=128,t=5,p=1${plain(salt)}${plain(digest)}"
    keycloak("argon2", 5, parameters, salt, digest, password, stored)


def firebase(log_n, rounds, separator, key, salt, password):
    derived = hashlib.scrypt(
        password.encode(), salt=salt + separator, n=2**log_n, r=rounds, p=1, dklen=32, maxmem=2**28
    )
    encryptor = Cipher(algorithms.AES(derived), modes.CTR(bytes(16))).encryptor()
    digest = encryptor.update(key) + encryptor.finalize()
    head = f"$fbscrypt$v=1,n={log_n},r={rounds},p=1,ss={b64(separator)},sk={b64(key)}"
    # passlib does not know it.
    add("Firebase", password, f"{head}${b64(salt)}${b64(digest)}", readable=False)
    return b64(digest)


published = firebase(
    14,
    8,
    base64.b64decode("Bw=="),
    base64.b64decode("jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA=="),
    base64.b64decode("42xEC+ixf3L2lw=="),
    "user1password",
)
assert published == "lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ=="
for password in PASSWORDS:
    firebase(8, 8, os.urandom(1), os.urandom(64), os.urandom(10), password)

packages = ["passlib", "bcrypt", "Django", "argon2-cffi", "cryptography"]
made_by = {name: importlib.metadata.version(name) for name in packages}
json.dump({"made_by": made_by, "vectors": vectors}, sys.stdout, indent=1, ensure_ascii=False)
print()

"""Hooks for schemathesis, for rules that no schema can express.

They only change requests that are meant to be valid, so that they meet these rules, too.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
import uuid
from typing import Any

import schemathesis
from schemathesis import Case, HookContext, Response

MAX_PASSWORD_BYTES = 1024

_sent_keys: set[str] = set()
_returned_cursors: list[str] = []
_signups = itertools.count()


def _unlikely(password: str) -> str:
    """A password that is hard to guess and within the limit of bytes, neither of which a schema can express. It has
    the length and the end of the original one."""
    password = uuid.uuid4().hex[: len(password)][:16] + password[16:]
    return password.encode()[:MAX_PASSWORD_BYTES].decode(errors="ignore")


def _visible(name: str) -> str:
    """A name without characters that are forbidden, or allowed only in some positions: patterns can express neither
    characters beyond the first plane, nor where a joiner or a selector is needed."""
    positional = re.compile("[\\u180b-\\u180f\\ufe00-\\ufe0f\\U000e0000-\\U000e0fff]")
    shown = (
        character
        for character in positional.sub("", name)
        if unicodedata.category(character) not in ("Cf", "Co") and ord(character) & 0xFFFE != 0xFFFE
    )
    return "".join(shown).strip() or "Ada"


def _key_of(key: str) -> str:
    """The key in a header: a quoted string, or the same unquoted."""
    if quoted := re.match(r'"((?:[^"\\]|\\.)*)', key):
        return re.sub(r"\\(.)", r"\1", quoted[1])
    return key.strip()


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Makes the request valid."""
    is_to_be_valid = case.meta is not None and case.meta.generation.mode.is_positive
    key = case.headers.get("Idempotency-Key")
    if key is not None:
        # A key is correctly refused with other values, and the values of two cases differ.
        if is_to_be_valid and _key_of(key) in _sent_keys:
            case.headers["Idempotency-Key"] = key = str(uuid.uuid4())
        _sent_keys.add(_key_of(key))
    if not is_to_be_valid:
        return
    if isinstance(case.body, dict):
        case.body["password"] = _unlikely(str(case.body["password"]))
        for field in ("name", "display_name"):
            if isinstance(case.body.get(field), str):
                case.body[field] = _visible(case.body[field])
        # Generated addresses are all ASCII.
        if next(_signups) % 4 == 0:
            local = str(case.body["email"]).split("@")[0]
            case.body["email"] = f"{local}@bücher.example"
    if "cursor" in case.query and case.query["cursor"] not in _returned_cursors:
        # The service only accepts its own cursors.
        if _returned_cursors:
            case.query["cursor"] = _returned_cursors[-1]
        else:
            del case.query["cursor"]


@schemathesis.hook
def after_call(context: HookContext, case: Case, response: Response) -> None:
    """Records the cursors that the service returns."""
    if case.operation.path == "/users" and response.status_code == 200:
        cursor = response.json().get("next_cursor")
        if cursor is not None:
            _returned_cursors.append(cursor)

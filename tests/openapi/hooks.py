"""What schemathesis must know beyond the document, because no schema can say it.

It only touches requests that are to be valid: it makes them valid by more than their form.
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
_given_cursors: list[str] = []
_signups = itertools.count()


def _unlikely(password: str) -> str:
    """A password that no attacker would try first, which is a rule that no schema can have; nor can it count
    bytes. As long as the given one, with the same end."""
    password = uuid.uuid4().hex[: len(password)][:16] + password[16:]
    return password.encode()[:MAX_PASSWORD_BYTES].decode(errors="ignore")


def _visible(name: str) -> str:
    """A name without characters that must not be in one, or only at some places: those of other planes than the
    first stand in no pattern, nor does where a joiner or a selector is needed."""
    needed_somewhere = re.compile("[\\u180b-\\u180f\\ufe00-\\ufe0f\\U000e0000-\\U000e0fff]")
    shown = (
        character
        for character in needed_somewhere.sub("", name)
        if unicodedata.category(character) not in ("Cf", "Co") and ord(character) & 0xFFFE != 0xFFFE
    )
    return "".join(shown).strip() or "Ada"


def _named(key: str) -> str:
    """The key that a header names: a string in quotes, or the same bare."""
    if quoted := re.match(r'"((?:[^"\\]|\\.)*)', key):
        return re.sub(r"\\(.)", r"\1", quoted[1])
    return key.strip()


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Makes the request valid."""
    is_to_be_valid = case.meta is not None and case.meta.generation.mode.is_positive
    key = case.headers.get("Idempotency-Key")
    if key is not None:
        # With other values a key is rightly refused, and the values of two cases differ.
        if is_to_be_valid and _named(key) in _sent_keys:
            case.headers["Idempotency-Key"] = key = str(uuid.uuid4())
        _sent_keys.add(_named(key))
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
    if "cursor" in case.query and case.query["cursor"] not in _given_cursors:
        # The service knows its own cursors from others.
        if _given_cursors:
            case.query["cursor"] = _given_cursors[-1]
        else:
            del case.query["cursor"]


@schemathesis.hook
def after_call(context: HookContext, case: Case, response: Response) -> None:
    """Takes note of the cursors that the service gives."""
    if case.operation.path == "/users" and response.status_code == 200:
        cursor = response.json().get("next_cursor")
        if cursor is not None:
            _given_cursors.append(cursor)

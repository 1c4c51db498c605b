"""What schemathesis must know beyond the document, because no schema can say it."""

from __future__ import annotations

import uuid
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, HookContext, Response

# A password that an attacker would try first is refused, and no schema can say which those are. So each has
# an unlikely part; around it is anything that the schema allows, 1024 bytes in all at most.
_ANYTHING = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=200)
schemathesis.openapi.format(
    "password", st.tuples(_ANYTHING, st.uuids(), _ANYTHING).map(lambda parts: f"{parts[0]}{parts[1]}{parts[2]}")
)

# hypothesis has addresses in ASCII only.
_INTERNATIONAL = st.sampled_from(["bücher.example", "例え.テスト", "xn--bcher-kva.example", "παράδειγμα.example"])
_LOCAL = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789.!#$%&'*+/=?^_`{|}~-", min_size=1, max_size=64)
schemathesis.openapi.format(
    "idn-email", st.emails() | st.tuples(_LOCAL, _INTERNATIONAL).map("@".join)
)

_sent_keys: set[str] = set()
_given_cursors: list[str] = []


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Makes valid what is to be valid by more than its form."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    key = case.headers.get("Idempotency-Key")
    if key is not None:
        # With other values it is rightly refused; tests/api/idempotency.rs has that.
        if key.strip('"') in _sent_keys:
            case.headers["Idempotency-Key"] = key = str(uuid.uuid4())
        _sent_keys.add(key.strip('"'))
    if "cursor" in case.query and case.query["cursor"] not in _given_cursors:
        # The service knows its own cursors from others.
        if _given_cursors:
            case.query["cursor"] = _given_cursors[-1]
        else:
            del case.query["cursor"]


@schemathesis.hook
def after_call(context: HookContext, case: Case, response: Response) -> None:
    """Takes note of cursors."""
    if case.operation.path == "/users" and response.status_code == 200:
        cursor = response.json().get("next_cursor")
        if cursor is not None:
            _given_cursors.append(cursor)

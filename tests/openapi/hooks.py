"""Hooks for schemathesis, for rules that no schema can express.

They only change requests that are meant to be valid, so that they meet these rules, too: with values that the service
returned before, with users that exist, and with a credential if the run has any.

    OPENAPI_ADDRESS           the address of the service
    OPENAPI_MAILS             the folder that it writes mails to
    OPENAPI_ADMINISTRATOR     the address of an administrator
    OPENAPI_ADMINISTRATION    the address of the listener for administration
    OPENAPI_SERVICE_KEY       a service key with every permission

With the last two, every request has this key; with the third, access tokens; otherwise no credential.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
import time
import unicodedata
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis import AuthContext, Case, CheckContext, HookContext, Response

sys.path.insert(0, str(Path(__file__).parent))

from service import PASSWORD, Service, token_of, until

MAX_PASSWORD_BYTES = 1024
# How often an administrator logs in, in seconds: sooner than an access token expires.
LOGIN_EVERY = 600
PERMISSIONS = ["users:read", "tokens:check", "sessions:end", "users:write"]
# Users who ask for a mail at a time, as it takes up to a second.
ASKED = 20
# Responses to requests that no operation gets to see.
BEFORE_ACCESS = {
    "malformed-request", "not-found", "method-not-allowed", "uri-too-long", "misdirected-request", "headers-too-large",
}  # fmt: skip

SERVICE = Service(os.environ["OPENAPI_ADDRESS"])
MAILS = Path(os.environ["OPENAPI_MAILS"])
ADMINISTRATOR = os.environ.get("OPENAPI_ADMINISTRATOR")
ADMINISTRATION = Service(os.environ.get("OPENAPI_ADMINISTRATION", ""))
SERVICE_KEY = os.environ.get("OPENAPI_SERVICE_KEY")

_sent_keys: set[str] = set()
# What the service returned and takes back, by the path and the parameter.
_returned: dict[tuple[str, str], str] = {}
_calls = itertools.count()
# Tokens of mails that were not used, by the kind of mail.
_mailed: dict[str, list[str]] = {"verify": [], "reset": [], "confirm_email": [], "email_changing": []}
# The valid credentials that were sent, with their sessions if they are access tokens.
_sessions: dict[str, dict[str, Any]] = {f"Bearer {SERVICE_KEY}": {}} if SERVICE_KEY else {}


def _schemes(case: Case) -> set[str]:
    """The kinds of credential that an operation accepts; none if it is public."""
    return {scheme for choice in case.operation.definition.raw["security"] for scheme in choice}


class Credentials:
    """The service key; or access tokens: of an administrator, and for what users do with their own account of a new user
    each time, as such a request may end the session."""

    _administrator: tuple[float, str] | None = None

    def get(self, case: Case, context: AuthContext) -> str | None:
        """A token for this case."""
        schemes = _schemes(case)
        if not schemes:
            return None
        if SERVICE_KEY:
            return SERVICE_KEY
        if schemes == {"access_token"}:
            return _token(SERVICE.log_in(SERVICE.sign_up()))
        assert ADMINISTRATOR
        now = time.monotonic()
        if self._administrator is None or self._administrator[0] + LOGIN_EVERY < now:
            self._administrator = now, _token(SERVICE.log_in(ADMINISTRATOR))
        return self._administrator[1]

    def set(self, case: Case, data: str, context: AuthContext) -> None:
        """Sends it."""
        case.headers["Authorization"] = f"Bearer {data}"


def _token(session: dict[str, Any]) -> str:
    """The access token of a session, which is remembered."""
    token: str = session["access_token"]
    _sessions[f"Bearer {token}"] = session
    return token


if ADMINISTRATOR or SERVICE_KEY:
    schemathesis.auth(refresh_interval=None)(Credentials)


def _short(password: str) -> str:
    """A password within the limit of bytes, which a schema can't express."""
    return password.encode()[:MAX_PASSWORD_BYTES].decode(errors="ignore")


def _unlikely(password: str) -> str:
    """A password that is hard to guess, which a schema can't express either. It has the length and the end of the
    original one."""
    return _short(uuid.uuid4().hex[: len(password)][:16] + password[16:])


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
    for parameter in ("cursor", "after"):
        if parameter in case.query:
            # The service only accepts what it returned.
            if (case.operation.path, parameter) in _returned:
                case.query[parameter] = _returned[case.operation.path, parameter]
            else:
                del case.query[parameter]
    if isinstance(case.body, dict):
        for field in ("name", "display_name", "label"):
            if isinstance(case.body.get(field), str):
                case.body[field] = _visible(case.body[field])
    # Three in four requests mean something that exists; the others are left with what is unknown to the service.
    change = CHANGES.get(case.operation.definition.raw["operationId"])
    if change:
        change(case, next(_calls) % 4)


def _sign_up(case: Case, turn: int) -> None:
    case.body["password"] = _unlikely(str(case.body["password"]))
    # Generated addresses are all ASCII.
    if turn == 0:
        local = str(case.body["email"]).split("@")[0]
        case.body["email"] = f"{local}@bücher.example"


def _log_in(case: Case, turn: int) -> None:
    case.body["password"] = _short(str(case.body["password"]))
    if turn:
        case.body |= {"email": SERVICE.sign_up(), "password": PASSWORD}


def _refresh(case: Case, turn: int) -> None:
    if turn:
        case.body["refresh_token"] = SERVICE.log_in(SERVICE.sign_up())["refresh_token"]


def _log_out(case: Case, turn: int) -> None:
    if turn and isinstance(case.body, dict):
        _refresh(case, turn)


def _reauthenticate(case: Case, turn: int) -> None:
    case.body["password"] = PASSWORD if turn else _short(str(case.body["password"]))


def _ask_for_mail(case: Case, turn: int) -> None:
    if turn:
        case.body["email"] = SERVICE.sign_up()


def _token_of(kind: str, ask: Callable[[], str]) -> str:
    """The token of a new mail to a new user, who asks for it; `ask` returns the address that it goes to."""
    tokens = _mailed[kind]
    if not tokens:
        before = set(MAILS.glob("*.eml"))
        asked = {ask() for _ in range(ASKED)}

        def mails() -> list[Path]:
            # Other requests cause mails as well, and a later one to the same user voids the token of an earlier one.
            new = [mail for mail in MAILS.glob(f"*Z-{kind}-*.eml") if mail not in before]
            return [mail for mail in new if _to(mail) in asked]

        until("mails", lambda: len(mails()) >= ASKED)
        tokens += [token_of(mail) for mail in mails()]
    return tokens.pop()


def _to(mail: Path) -> str:
    """The address that a mail goes to."""
    found = re.search(r"^To: (\S+)", mail.read_text(), re.MULTILINE)
    assert found, mail
    return found[1]


def _asked(path: str) -> Callable[[], str]:
    def ask() -> str:
        email = SERVICE.sign_up()
        SERVICE.post(path, {"email": email})
        return email

    return ask


def _asked_for_another_address(is_new: bool) -> Callable[[], str]:
    def ask() -> str:
        old, new = SERVICE.sign_up(), f"{uuid.uuid4().hex}@example.org"
        SERVICE.post("/users/me/email", {"email": new}, SERVICE.log_in(old)["access_token"])
        return new if is_new else old

    return ask


def _confirm(case: Case, _turn: int) -> None:
    case.body["token"] = _token_of("confirm_email", _asked_for_another_address(is_new=True))


def _undo(case: Case, _turn: int) -> None:
    case.body["token"] = _token_of("email_changing", _asked_for_another_address(is_new=False))


def _change_password(case: Case, turn: int) -> None:
    case.body |= {
        "current_password": PASSWORD if turn else _short(str(case.body["current_password"])),
        "new_password": _unlikely(str(case.body["new_password"])),
    }


def _update_profile(case: Case, _turn: int) -> None:
    # Any: the account of this request was made for it.
    if "If-Match" in case.headers:
        case.headers["If-Match"] = "*"


def _verify(case: Case, turn: int) -> None:
    case.body |= {"token": _token_of("verify", _asked("/auth/verify-email/resend")), "password": PASSWORD}
    # A wrong one.
    if not turn:
        case.body["password"] += "x"


def _reset(case: Case, _turn: int) -> None:
    token = _token_of("reset", _asked("/auth/password/forgot"))
    case.body |= {"token": token, "password": _unlikely(str(case.body["password"]))}


def _introspect(case: Case, turn: int) -> None:
    if turn and isinstance(case.body, dict):
        case.body["token"] = SERVICE.log_in(SERVICE.sign_up())["access_token"]


def _end_session(case: Case, turn: int) -> None:
    session = _sessions.get(case.headers.get("Authorization", ""))
    if turn and session:
        case.path_parameters["id"] = session["session_id"]


def _key(case: Case, turn: int) -> None:
    # The list of keys has the one of this run: without it, all further requests would be refused.
    own = (SERVICE_KEY or "").removeprefix("ssk_").split("_")[0]
    if SERVICE_KEY and (turn or case.path_parameters.get("id") == own):
        new = {"name": "test", "permissions": ["users:read"], "expires_in_days": 1}
        case.path_parameters["id"] = ADMINISTRATION.post("/admin/keys", new, SERVICE_KEY)["id"]


def _permissions(case: Case, turn: int) -> None:
    # The document does not list them.
    case.body["permissions"] = PERMISSIONS[: turn + 1]
    if "expires_in_days" in case.body:
        # In JSON Schema 90.0 is an integer.
        case.body["expires_in_days"] = int(case.body["expires_in_days"])


def _user(case: Case, turn: int) -> None:
    if turn:
        case.path_parameters["id"] = SERVICE.log_in(SERVICE.sign_up())["user"]["id"]
    if turn and "role" in case.path_parameters:
        case.path_parameters["role"] = "support"


# How a valid request of an operation, by its id, becomes one that means something.
CHANGES = {
    "create_key": _permissions,
    "define_role": _permissions,
    "revoke_key": _key,
    "rotate_key": _key,
    "finish_rotation_of_key": _key,
    "get_administered_user": _user,
    "change_user": _user,
    "grant_role": _user,
    "revoke_role": _user,
    "end_sessions_of_user": _user,
    "sign_up": _sign_up,
    "log_in": _log_in,
    "refresh": _refresh,
    "log_out": _log_out,
    "reauthenticate": _reauthenticate,
    "verify_email": _verify,
    "resend_verification": _ask_for_mail,
    "forgot_password": _ask_for_mail,
    "reset_password": _reset,
    "confirm_email": _confirm,
    "undo_email": _undo,
    "change_password": _change_password,
    "update_profile": _update_profile,
    "introspect": _introspect,
    "end_session": _end_session,
}


@schemathesis.hook
def after_call(context: HookContext, case: Case, response: Response) -> None:
    """Records what the service returns and takes back."""
    names = {
        "/users": ("cursor", "next_cursor"),
        "/admin/users": ("cursor", "next_cursor"),
        "/auth/revocations": ("after", "next"),
    }
    if case.operation.path in names and case.method == "GET" and response.status_code == 200:
        parameter, member = names[case.operation.path]
        value = response.json().get(member)
        if value is not None:
            _returned[case.operation.path, parameter] = value


@schemathesis.check
def access_is_decided_first(ctx: CheckContext, response: Response, case: Case) -> None:
    """With a credential that suffices, no request is denied for want of one. Without one, nothing but 401 is learned
    about an operation that needs one, whatever else is wrong with the request."""
    if not _schemes(case):
        return
    is_json = "json" in " ".join(response.headers.get("content-type", []))
    slug = str(response.json().get("type", "")).removeprefix("/problems/") if is_json else ""
    sent = " ".join(response.request.headers.get("Authorization", "").split())
    if sent in _sessions:
        denied = slug in ("authentication-required", "access-token-invalid", "permission-denied")
        assert not denied, f"a valid access token got {response.status_code} {slug}"
    else:
        assert response.status_code == 401 or slug in BEFORE_ACCESS, (
            f"without a valid credential the response is {response.status_code} {slug}"
        )

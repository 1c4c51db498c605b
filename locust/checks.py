"""Checks of the service's responses.

Pure functions: they take a response and the expected values, and return the faults, each a short
text. The texts contain no ids, names or addresses: Locust counts failures by their text, so each
new text would be a new row; and reports may be published.

The rules are those of `docs/reference/http-api.md` and `docs/how-to/call-the-api.md`.
"""

import ipaddress
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

USER_MEMBERS = ("id", "name", "email", "display_name", "created_at")
UUID_V7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
# Always six digits of microseconds, so that the texts sort chronologically.
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
HASH = re.compile(rb"\$2[abxy]?\$|\$bcrypt")
# Header, claims and signature (RFC 7519).
ACCESS_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
REFRESH_TOKEN = re.compile(r"srt_[\w-]+", re.ASCII)
DEVICE_TOKEN = re.compile(r"sdt_[\w-]+", re.ASCII)

User = Mapping[str, str]


@dataclass(frozen=True)
class Response:
    """An HTTP response, with the names of its headers in lower case.

    The status is 0 if there was no response.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON, or `None` if it is invalid."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True)
class Refusal:
    """A response by which the service refuses a request for now."""

    slug: str
    # Seconds to wait; `None` if missing, which is a fault.
    retry_after: int | None


def any_faults(response: Response, request_id: str, secret: str) -> list[str]:
    """Faults of any kind of response. `secret` is a text in every password of the run."""
    if response.status == 0:
        return ["no response"]
    faults = []
    if "x-request-id" not in response.headers:
        faults.append("no X-Request-ID")
    elif response.headers["x-request-id"] != request_id:
        faults.append("the X-Request-ID of another request")
    if secret.encode() in response.body:
        faults.append("a password in the body")
    if HASH.search(response.body) or any(
        _names_a_secret(name) for name in _members(response.json())
    ):
        faults.append("a password or a hash in the body, by its format or its name")
    return faults


def _names_a_secret(name: str) -> bool:
    return "password" in name.lower() or "hash" in name.lower()


def _members(value: Any) -> Iterator[str]:
    """The names of all members, at any depth."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _members(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _members(inner)


def refusal(response: Response) -> Refusal | None:
    """The refusal in a response, if it is one: a 503, or a 409 of a key in progress."""
    problem = response.json()
    if response.status not in (409, 503) or not isinstance(problem, dict):
        return None
    slug = str(problem.get("type", "")).removeprefix("/problems/")
    if (response.status, slug) not in {
        (503, "overloaded"),
        (503, "unavailable"),
        (409, "request-in-progress"),
    }:
        return None
    wait = response.headers.get("retry-after", "")
    return Refusal(slug, int(wait) if re.fullmatch(r"[0-9]{1,9}", wait) else None)


def refusal_faults(response: Response, refused: Refusal) -> list[str]:
    """Faults of a refusal."""
    faults = []
    if refused.retry_after is None:
        faults.append(f"{refused.slug} without Retry-After in seconds")
    if response.headers.get("content-type") != "application/problem+json":
        faults.append(f"{refused.slug} is not application/problem+json")
    return faults


def signup_faults(response: Response, sent: Mapping[str, str], may_be_replay: bool) -> list[str]:
    """Faults of the response to a signup with these values.

    It may be a replay only if the outcome of an earlier try is unknown.
    """
    faults = _status_faults(response, 201)
    if faults:
        return faults
    user = response.json()
    faults += _user_faults(user)
    if faults:
        return faults
    wanted = {"display_name": sent["name"], **sent}
    for member in ("name", "email", "display_name"):
        if user[member] != wanted[member]:
            faults.append(f"{member} differs from the request")
    if response.headers.get("location") != f"/users/{user['id']}":
        faults.append("Location does not lead to the user")
    replayed = response.headers.get("idempotent-replayed")
    if replayed is not None and not (may_be_replay and replayed == "true"):
        faults.append("a first response with Idempotent-Replayed")
    return faults


def replay_faults(first: Response, again: Response) -> list[str]:
    """Faults of the response to a completed signup that was repeated."""
    if again.status != first.status:
        return [f"a replay with the status {again.status} instead of {first.status}"]
    faults = []
    if again.body != first.body:
        faults.append("a replay with another body")
    for header in ("location", "content-type"):
        if again.headers.get(header) != first.headers.get(header):
            faults.append(f"a replay with another {header}")
    if again.headers.get("idempotent-replayed") != "true":
        faults.append("a replay without Idempotent-Replayed: true")
    return faults


def login_faults(response: Response, known: User, may_be_replay: bool) -> list[str]:
    """Faults of the response to a login of a user known from a signup.

    It may be a replay only if the outcome of an earlier try is unknown.
    """
    faults = _token_faults(response)
    if faults:
        return faults
    session = response.json()
    if not UUID_V7.fullmatch(str(session.get("session_id"))):
        faults.append("the session_id is not a UUIDv7 in lower case")
    if not DEVICE_TOKEN.fullmatch(str(session.get("device_token"))):
        faults.append("no device_token")
    if response.headers.get("idempotent-replayed") is not None and not may_be_replay:
        faults.append("a first response with Idempotent-Replayed")
    return faults + _difference(session.get("user"), known)


def repeated_login_faults(first: Response, again: Response) -> list[str]:
    """Faults of the response to a login that was repeated with its key: it is the same session."""
    return _same_session_faults(first, again, ("session_id", "refresh_token", "device_token"))


def refresh_faults(response: Response, sent: str, may_be_replay: bool) -> list[str]:
    """Faults of the response to a refresh with this token."""
    faults = _token_faults(response)
    if faults:
        return faults
    if response.json()["refresh_token"] == sent:
        faults.append("the refresh token that was sent")
    if response.headers.get("idempotent-replayed") is not None and not may_be_replay:
        faults.append("a first response with Idempotent-Replayed")
    return faults


def repeated_refresh_faults(first: Response, again: Response) -> list[str]:
    """Faults of the response to a refresh that was repeated with its key: it is the same next token."""
    return _same_session_faults(first, again, ("refresh_token",))


def logout_faults(response: Response) -> list[str]:
    """Faults of the response to a logout."""
    if response.status != 204:
        return [f"the status {response.status} instead of 204"]
    return ["a body"] if response.body else []


def ended_faults(response: Response) -> list[str]:
    """Faults of the response to a refresh of a session whose user has logged out."""
    return _problem_faults(response, 401, "session-ended", reason="logged_out")


def denied_faults(response: Response) -> list[str]:
    """Faults of the response to a read of another user by a user without the permission: it does not say whether the
    other one exists."""
    return _problem_faults(response, 404, "user-not-found")


def _token_faults(response: Response) -> list[str]:
    """Faults of the tokens in a response."""
    faults = _status_faults(response, 200)
    if faults:
        return faults
    tokens = response.json()
    if not isinstance(tokens, dict):
        return ["no tokens"]
    if response.headers.get("cache-control") != "no-store":
        faults.append("tokens without Cache-Control: no-store")
    if not ACCESS_TOKEN.fullmatch(str(tokens.get("access_token"))) or tokens.get("token_type") != "Bearer":
        faults.append("no access token")
    if not isinstance(tokens.get("expires_in"), int) or not 0 < tokens["expires_in"] <= 3600:
        faults.append("no expires_in, or one beyond an hour")
    if not REFRESH_TOKEN.fullmatch(str(tokens.get("refresh_token"))):
        faults.append("no refresh token")
    return faults


def _same_session_faults(first: Response, again: Response, members: tuple[str, ...]) -> list[str]:
    faults = _token_faults(again)
    if faults:
        return faults
    if any(first.json()[member] != again.json().get(member) for member in members):
        faults.append("a repeated request with another session, or another token of it")
    if again.headers.get("idempotent-replayed") != "true":
        faults.append("a repeated request without Idempotent-Replayed: true")
    return faults


def _problem_faults(response: Response, status: int, slug: str, **members: str) -> list[str]:
    if response.status != status:
        return [f"the status {response.status} instead of {status}"]
    if response.headers.get("content-type") != "application/problem+json":
        return ["the body is not application/problem+json"]
    problem = response.json()
    wanted = {"type": f"/problems/{slug}", **members}
    if not isinstance(problem, dict) or any(problem.get(name) != value for name, value in wanted.items()):
        return [f"not the problem {slug}"]
    return []


def read_faults(response: Response, known: User) -> list[str]:
    """Faults of the response to a read by id of a user known from a signup."""
    faults = _status_faults(response, 200)
    if faults:
        return faults
    return _difference(response.json(), known)


def look_up_faults(response: Response, known: User) -> list[str]:
    """Faults of the response to a look-up by the address of such a user."""
    faults = _status_faults(response, 200)
    if faults:
        return faults
    found = response.json()
    users = found.get("users") if isinstance(found, dict) else None
    if not isinstance(users, list):
        return ["no list of users"]
    if len(users) != 1:
        return ["no user has the address" if not users else "more than one user has the address"]
    return _difference(users[0], known)


class Walk:
    """A walk through the list, page by page.

    `known` are users that had signed up before the first page was requested. They must be listed.
    """

    def __init__(self, known: Iterable[User]) -> None:
        self._known = {user["id"]: user for user in known}
        self._seen: set[str] = set()
        self._last_moment: str | None = None

    def page_faults(self, response: Response, limit: int) -> list[str]:
        """Faults of the next page, by itself and compared with those before it."""
        faults = _status_faults(response, 200)
        if faults:
            return faults
        page = response.json()
        users = page.get("users") if isinstance(page, dict) else None
        if not isinstance(users, list):
            return ["no list of users"]
        if "next_cursor" not in page or not isinstance(page["next_cursor"], str | None):
            faults.append("no next_cursor")
        if len(users) > limit:
            faults.append("more users than the limit")
        for user in users:
            wrong = _user_faults(user)
            if wrong:
                return faults + wrong
            if user["id"] in self._seen:
                faults.append("a repeated id")
            if self._last_moment is not None and user["created_at"] > self._last_moment:
                faults.append("not newest first")
            if user["id"] in self._known:
                faults += _difference(user, self._known[user["id"]])
            self._seen.add(user["id"])
            self._last_moment = user["created_at"]
        if self._missing(is_last=page.get("next_cursor") is None):
            faults.append("a known user is missing")
        return _each_once(faults)

    def _missing(self, is_last: bool) -> bool:
        """Whether a known user should have been listed by now.

        Users created at the same moment as the last one may still follow, as they are ordered by id.
        """
        if self._last_moment is None and not is_last:
            return False
        return any(
            identity not in self._seen
            and (is_last or user["created_at"] > (self._last_moment or ""))
            for identity, user in self._known.items()
        )


def is_loopback(url: str) -> bool:
    """Whether a URL has a loopback host."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _status_faults(response: Response, wanted: int) -> list[str]:
    if response.status != wanted:
        return [f"the status {response.status} instead of {wanted}"]
    if response.headers.get("content-type") != "application/json":
        return ["the body is not application/json"]
    return []


def _user_faults(user: Any) -> list[str]:
    """Faults of the format of a user. Unknown members are allowed."""
    if not isinstance(user, dict) or not all(
        isinstance(user.get(member), str) for member in USER_MEMBERS
    ):
        return ["not a user, or a member is missing"]
    faults = []
    if not UUID_V7.fullmatch(user["id"]):
        faults.append("the id is not a UUIDv7 in lower case")
    if not MOMENT.fullmatch(user["created_at"]):
        faults.append("created_at is not a UTC timestamp with microseconds")
    return faults


def _difference(user: Any, known: User) -> list[str]:
    """The members in which a user differs from the signup response."""
    faults = _user_faults(user)
    if faults:
        return faults
    return [
        f"{member} differs from the signup response"
        for member in USER_MEMBERS
        if user[member] != known[member]
    ]


def _each_once(faults: Collection[str]) -> list[str]:
    return list(dict.fromkeys(faults))

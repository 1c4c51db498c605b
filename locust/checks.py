"""What is wrong with an answer of the service.

Pure functions: they take an answer and what is known beforehand, and give the faults, each a short
text. The texts have no ids, names or addresses in them. Locust counts failures by their text, so
each new text would be a new row; and a report may be shown to anybody.

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
# Six digits of microseconds, always: so the texts sort as the moments do.
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
HASH = re.compile(rb"\$2[abxy]?\$|\$bcrypt")

User = Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, with the names of its headers in lower case.

    Where none came, the status is 0.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON, or `None` if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True)
class Refusal:
    """An answer by which the service puts a client off."""

    slug: str
    # Seconds to wait; `None` if the service does not say, which is a fault.
    retry_after: int | None


def any_faults(answer: Answer, request_id: str, secret: str) -> list[str]:
    """What no answer may have or lack. `secret` is a text that is in every password of the run."""
    if answer.status == 0:
        return ["no answer"]
    faults = []
    if "x-request-id" not in answer.headers:
        faults.append("no X-Request-ID")
    elif answer.headers["x-request-id"] != request_id:
        faults.append("the X-Request-ID of another request")
    if secret.encode() in answer.body:
        faults.append("a password in the body")
    if HASH.search(answer.body) or any(
        _tells_of_a_secret(name) for name in _members(answer.json())
    ):
        faults.append("a password or a hash in the body, by its look or its name")
    return faults


def _tells_of_a_secret(name: str) -> bool:
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


def refusal(answer: Answer) -> Refusal | None:
    """The refusal that this answer is, if it is one: a 503, or a 409 of a key that still runs."""
    problem = answer.json()
    if answer.status not in (409, 503) or not isinstance(problem, dict):
        return None
    slug = str(problem.get("type", "")).removeprefix("/problems/")
    if (answer.status, slug) not in {
        (503, "overloaded"),
        (503, "unavailable"),
        (409, "request-in-progress"),
    }:
        return None
    wait = answer.headers.get("retry-after", "")
    return Refusal(slug, int(wait) if re.fullmatch(r"[0-9]{1,9}", wait) else None)


def refusal_faults(answer: Answer, refused: Refusal) -> list[str]:
    """What is wrong with an answer that is this refusal."""
    faults = []
    if refused.retry_after is None:
        faults.append(f"{refused.slug} without Retry-After in seconds")
    if answer.headers.get("content-type") != "application/problem+json":
        faults.append(f"{refused.slug} is no application/problem+json")
    return faults


def signup_faults(answer: Answer, sent: Mapping[str, str], may_be_replay: bool) -> list[str]:
    """What is wrong with the answer to a signup with these values.

    It may be a replay only if an earlier try was left without a certain answer.
    """
    faults = _status_faults(answer, 201)
    if faults:
        return faults
    user = answer.json()
    faults += _user_faults(user)
    if faults:
        return faults
    wanted = {"display_name": sent["name"], **sent}
    for member in ("name", "email", "display_name"):
        if user[member] != wanted[member]:
            faults.append(f"{member} is not what was sent")
    if answer.headers.get("location") != f"/users/{user['id']}":
        faults.append("Location does not lead to the user")
    replayed = answer.headers.get("idempotent-replayed")
    if replayed is not None and not (may_be_replay and replayed == "true"):
        faults.append("a first answer with Idempotent-Replayed")
    return faults


def replay_faults(first: Answer, again: Answer) -> list[str]:
    """What is wrong with the answer to a signup that was sent again, after it was answered."""
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


def read_faults(answer: Answer, known: User) -> list[str]:
    """What is wrong with the answer to a read by id of a user that a signup answered."""
    faults = _status_faults(answer, 200)
    if faults:
        return faults
    return _difference(answer.json(), known)


def look_up_faults(answer: Answer, known: User) -> list[str]:
    """What is wrong with the answer to a look-up by the address of such a user."""
    faults = _status_faults(answer, 200)
    if faults:
        return faults
    found = answer.json()
    users = found.get("users") if isinstance(found, dict) else None
    if not isinstance(users, list):
        return ["no list of users"]
    if len(users) != 1:
        return ["no user has the address" if not users else "more than one user has the address"]
    return _difference(users[0], known)


class Walk:
    """One way through the list, page by page.

    `known` are users that had signed up before the first page was asked for. Those must be seen.
    """

    def __init__(self, known: Iterable[User]) -> None:
        self._known = {user["id"]: user for user in known}
        self._seen: set[str] = set()
        self._last_moment: str | None = None

    def page_faults(self, answer: Answer, limit: int) -> list[str]:
        """What is wrong with the next page, by itself and beside those before it."""
        faults = _status_faults(answer, 200)
        if faults:
            return faults
        page = answer.json()
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
                faults.append("an id a second time")
            if self._last_moment is not None and user["created_at"] > self._last_moment:
                faults.append("not newest first")
            if user["id"] in self._known:
                faults += _difference(user, self._known[user["id"]])
            self._seen.add(user["id"])
            self._last_moment = user["created_at"]
        if self._missing(is_last=page.get("next_cursor") is None):
            faults.append("a user who was there is left out")
        return _each_once(faults)

    def _missing(self, is_last: bool) -> bool:
        """Whether a known user should have come by now.

        Those of the moment of the last user may still come, as ids decide between them.
        """
        if self._last_moment is None and not is_last:
            return False
        return any(
            identity not in self._seen
            and (is_last or user["created_at"] > (self._last_moment or ""))
            for identity, user in self._known.items()
        )


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine only."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _status_faults(answer: Answer, wanted: int) -> list[str]:
    if answer.status != wanted:
        return [f"the status {answer.status} instead of {wanted}"]
    if answer.headers.get("content-type") != "application/json":
        return ["the body is not application/json"]
    return []


def _user_faults(user: Any) -> list[str]:
    """What is wrong with the form of a user. Members that are not known are let pass."""
    if not isinstance(user, dict) or not all(
        isinstance(user.get(member), str) for member in USER_MEMBERS
    ):
        return ["not a user, or a member is missing"]
    faults = []
    if not UUID_V7.fullmatch(user["id"]):
        faults.append("the id is no UUIDv7 in lower case")
    if not MOMENT.fullmatch(user["created_at"]):
        faults.append("created_at is no moment in UTC with microseconds")
    return faults


def _difference(user: Any, known: User) -> list[str]:
    """In which members a user that was read differs from what signup answered."""
    faults = _user_faults(user)
    if faults:
        return faults
    return [
        f"{member} is not what signup answered"
        for member in USER_MEMBERS
        if user[member] != known[member]
    ]


def _each_once(faults: Collection[str]) -> list[str]:
    return list(dict.fromkeys(faults))

"""Users that sign up, log in, refresh and read themselves, services that read all users, and the result of checking their
responses.

    locust --config locust/locust.conf --host http://127.0.0.1:8000

The services have the key in LOCUST_SERVICE_KEY, with the permission users:read; without one, there are only users.
`scripts/load.sh` does that with a service of its own. `README.md` beside this file explains the
figures, and `checks.py` defines the faults.
"""

import logging
import os
import random
import secrets
import signal
import sys
import time
import uuid
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import checks
import gevent
import shapes
from checks import Response, Refusal, User
from locust import FastHttpUser, between, events, task
from locust.env import Environment
from locust.user.task import LOCUST_STATE_STOPPING

Shape = shapes.chosen(os.environ)

# The exit code of a run with wrong responses; another one that is not 0 means that it could not run.
WRONG = 3

# A text in every password of this run, so that one search in a body finds any of them.
PASSWORD_MARK = secrets.token_hex(8)

# How many of the faults are logged with the request id. All of them are counted.
FAULTS_LOGGED = 20

# The key of services.
SERVICE_KEY = os.environ.get("LOCUST_SERVICE_KEY", "")

# The share of completed requests with a key that are repeated. A real client does that when the response is lost in
# transit.
REPEATED = 0.3

# Refreshes of a session within a minute. The service takes 10, and each may be repeated.
MOST_REFRESHES = 4

# How long before its end an access token is no longer used, in seconds.
TOO_OLD = 60.0

# The most pages that a user reads in a row.
MOST_PAGES = 5

# The longest wait after a refusal, in seconds, before the random part.
LONGEST_WAIT = 30.0

# The id of no user.
UNKNOWN = "01a1fcd0-39d9-7edf-9953-1bfef046d2c7"

# Parts of a name; not all of them ASCII.
GIVEN = ("Ada", "Grace", "Kurt", "Zoë", "Jiří", "李")
FAMILY = ("Lovelace", "Hopper", "Gödel", "Núñez", "Novák", "小龍")


@dataclass
class Command:
    """A request with one key for all of its tries."""

    path: str
    values: dict[str, str]
    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    refusals: int = 0
    # When it may be retried, by the monotonic clock.
    not_before: float = 0.0
    # The outcome of a try is unknown, so it may have been executed already.
    uncertain: bool = False
    # The user had to leave before there was an outcome.
    is_left: bool = False


def new_signup() -> Command:
    """A signup that was not made before."""
    values = {
        "name": f"{random.choice(GIVEN)} {random.choice(FAMILY)}",
        # The case is kept in responses and ignored in look-ups.
        "email": f"Load-{secrets.token_hex(12)}@Example.org",
        "password": f"{PASSWORD_MARK}-{secrets.token_hex(8)}",
    }
    if random.random() < 0.5:
        values["display_name"] = random.choice(GIVEN)
    return Command("/signup", values)


@dataclass
class Session:
    """A session, as its client keeps it."""

    user: User
    refresh_token: str
    access_token: str = ""
    # By the monotonic clock.
    expires_at: float = 0.0
    # When it was refreshed.
    refreshes: deque[float] = field(default_factory=deque)

    def take(self, tokens: Any) -> None:
        """Keeps the tokens of a response, and forgets the ones before."""
        self.refresh_token, self.access_token = tokens["refresh_token"], tokens["access_token"]
        self.expires_at = time.monotonic() + tokens["expires_in"]

    def may_refresh(self) -> bool:
        """Whether the service would not refuse one more refresh."""
        while self.refreshes and self.refreshes[0] < time.monotonic() - 60:
            self.refreshes.popleft()
        return len(self.refreshes) < MOST_REFRESHES


class Accounts:
    """The newest users from signup responses, up to a limit, to read them back."""

    LIMIT = 1000

    def __init__(self) -> None:
        self._users: OrderedDict[str, User] = OrderedDict()

    def remember(self, user: User) -> None:
        """Adds a user; drops the oldest one above the limit."""
        self._users[user["id"]] = user
        while len(self._users) > self.LIMIT:
            self._users.popitem(last=False)

    def all(self) -> list[User]:
        """All remembered users."""
        return list(self._users.values())

    def any(self) -> User | None:
        """A random one of them."""
        return random.choice(self.all()) if self._users else None


@dataclass
class Run:
    """State shared by the users of this process."""

    accounts: Accounts = field(default_factory=Accounts)
    # Refused signups of users that had to leave. Other users finish them, with the same keys.
    unfinished: deque[Command] = field(default_factory=deque)
    counts: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    faults_logged: int = 0


RUN = Run()

# Checks that must have been made at least once for a run to pass, as named in the summary.
SIGNED_UP = "signups that created an account"
AFTER_REFUSAL = "of those, after a refusal, with the same key"
REPLAYED = "repeated signups, compared with the first response"
LOGGED_IN = "logins that began a session"
SAME_SESSION = "repeated logins, compared with the first response"
REFRESHED = "refreshes"
SAME_TOKEN = "repeated refreshes, compared with the first response"
LOGGED_OUT = "logouts, after which the session could not be refreshed"
READ_SELF = "reads of the own account, compared with the signup response"
DENIED = "reads of others, denied"
READ = "reads by id with a service key, compared with the signup response"
LOOKED_UP = "look-ups by address, compared with the signup response"
PAGES = "pages of the list, checked for order and repeated ids"
OF_USERS = (SIGNED_UP, REPLAYED, LOGGED_IN, SAME_SESSION, REFRESHED, SAME_TOKEN, LOGGED_OUT, READ_SELF, DENIED)
OF_SERVICES = (READ, LOOKED_UP, PAGES) if SERVICE_KEY else ()
NEEDED = OF_USERS + OF_SERVICES


class Client(FastHttpUser):
    """What users and services have in common: requests whose responses are checked."""

    abstract = True
    wait_time = between(0.5, 1.5)
    # The service responds within 10 s, so a client with a longer timeout gets the response.
    network_timeout = 15.0
    connection_timeout = 15.0
    # Retries are part of the test and must not happen implicitly.
    max_retries = 0

    def finish(
        self, command: Command, name: str, faults: Callable[[Response], list[str]]
    ) -> Response | None:
        """Retries until there is a correct response. `None` after a wrong one, or when the user has to leave."""
        command.is_left = False
        while True:
            may_be_refused = ["overloaded", "unavailable"]
            if command.uncertain:
                may_be_refused.append("request-in-progress")
            outcome = self.post(command, name, faults, may_be_refused=tuple(may_be_refused))
            if not isinstance(outcome, Refusal):
                return outcome
            command.refusals += 1
            # After `overloaded` nothing was done; after the others the outcome is unknown.
            command.uncertain |= outcome.slug != "overloaded"
            # As documented for clients: at least this long, longer each time, and not all at once.
            at_least = float(outcome.retry_after or 1)
            doubled = min(at_least * 2 ** (command.refusals - 1), LONGEST_WAIT)
            wait = max(at_least, doubled) + random.uniform(0, at_least)
            command.not_before = time.monotonic() + wait
            if not self.wait_until(command.not_before):
                command.is_left = True
                return None

    def wait_until(self, moment: float) -> bool:
        """Waits. False if this user has to leave meanwhile."""
        while self._state != LOCUST_STATE_STOPPING:
            left = moment - time.monotonic()
            if left <= 0:
                return True
            gevent.sleep(min(left, 0.2))
        return False

    def post(
        self,
        command: Command,
        name: str,
        faults: Callable[[Response], list[str]],
        may_be_refused: tuple[str, ...],
    ) -> Response | Refusal | None:
        """Sends a command with its key. `None` after a wrong response."""
        return self.exchange(
            "POST",
            command.path,
            name,
            faults,
            may_be_refused,
            json=command.values,
            headers={"Idempotency-Key": command.key},
        )

    def get(
        self, path: str, name: str, faults: Callable[[Response], list[str]], credential: str
    ) -> Response | None:
        """Sends a read with a credential. `None` after a refusal or a wrong response."""
        headers = {"Authorization": f"Bearer {credential}"}
        outcome = self.exchange("GET", path, name, faults, ("unavailable",), headers=headers)
        return outcome if isinstance(outcome, Response) else None

    def exchange(
        self,
        method: str,
        path: str,
        name: str,
        faults_of: Callable[[Response], list[str]],
        may_be_refused: tuple[str, ...],
        headers: dict[str, str] | None = None,
        **body: Any,
    ) -> Response | Refusal | None:
        """Sends a request, and reports to Locust whether the response is correct.

        A refusal gets a separate row in the statistics, so that it does not count as a fast signup or login.
        """
        request_id = str(uuid.uuid4())
        with self.client.request(
            method,
            path,
            name=name,
            headers={"X-Request-ID": request_id, **(headers or {})},
            catch_response=True,
            allow_redirects=False,
            **body,
        ) as caught:
            response = Response(
                status=caught.status_code,
                headers={key.lower(): value for key, value in (caught.headers or {}).items()},
                body=caught.content or b"",
            )
            faults = checks.any_faults(response, request_id, PASSWORD_MARK)
            refused = checks.refusal(response)
            if refused is not None and refused.slug in may_be_refused:
                caught.request_meta["name"] = f"{name}, refused: {refused.slug}"
                RUN.refused[refused.slug] += 1
                faults += checks.refusal_faults(response, refused)
                if not Shape.may_be_refused:
                    faults.append(f"{refused.slug} at a load that must be served")
            elif response.status:
                refused = None
                faults += faults_of(response)
            if not faults:
                caught.success()
                return refused or response
            caught.failure("; ".join(faults))
        log_faults(name, request_id, response.status, faults)
        # A refusal that is a fault here is also retried, as documented for clients.
        return refused


class Visitor(Client):
    """A user that signs up, logs in and refreshes now and then, and reads the own account more often."""

    weight = 4
    # The values of the last signup, its user, and the device token of its logins.
    own: tuple[dict[str, str], User] | None = None
    device: str | None = None
    session: Session | None = None

    def on_start(self) -> None:
        """Runs each task once, so that even the shortest run checks everything."""
        self.sign_up(repeated=1.0)
        self.log_in(repeated=1.0)
        self.refresh(repeated=1.0)
        self.read_self()
        self.read_another()
        self.log_in()

    @task(6)
    def sign_up(self, repeated: float = REPEATED) -> None:
        """Signs up, and perhaps repeats the request."""
        left_behind = RUN.unfinished and RUN.unfinished[0].not_before <= time.monotonic()
        signup = RUN.unfinished.popleft() if left_behind else new_signup()
        first = self.finish(
            signup,
            "POST /signup",
            lambda response: checks.signup_faults(response, signup.values, signup.uncertain),
        )
        if first is None:
            if signup.is_left:
                RUN.unfinished.append(signup)
            return
        user = first.json()
        RUN.accounts.remember(user)
        self.own, self.device = (signup.values, user), None
        RUN.counts[SIGNED_UP] += 1
        if signup.refusals:
            RUN.counts[AFTER_REFUSAL] += 1
        self.repeat(signup, repeated, REPLAYED, lambda response: checks.replay_faults(first, response))

    @task(2)
    def log_in(self, repeated: float = REPEATED) -> None:
        """Logs in, perhaps repeats the request, and logs out of the session before."""
        if self.own is None:
            return
        values, known = self.own
        credentials = {"email": values["email"], "password": values["password"], "label": "load"}
        if self.device is not None:
            credentials["device_token"] = self.device
        login = Command("/auth/login", credentials)
        first = self.finish(
            login,
            "POST /auth/login",
            lambda response: checks.login_faults(response, known, login.uncertain),
        )
        if first is None:
            return
        RUN.counts[LOGGED_IN] += 1
        self.repeat(login, repeated, SAME_SESSION, lambda response: checks.repeated_login_faults(first, response))
        if self.session is not None:
            self.log_out(self.session)
        self.device = first.json()["device_token"]
        self.session = Session(known, first.json()["refresh_token"])
        self.session.take(first.json())

    def log_out(self, session: Session) -> None:
        """Logs out. Afterwards the session can't be refreshed."""
        token = {"refresh_token": session.refresh_token}
        ended = self.exchange(
            "POST", "/auth/logout", "POST /auth/logout", checks.logout_faults, ("unavailable",), json=token
        )
        if not isinstance(ended, Response):
            return
        refused = self.exchange(
            "POST", "/auth/refresh", "POST /auth/refresh, logged out", checks.ended_faults, ("unavailable",), json=token
        )
        RUN.counts[LOGGED_OUT] += isinstance(refused, Response)

    @task(1)
    def refresh(self, repeated: float = REPEATED) -> None:
        """Refreshes as clients should: the token and the key are kept until there is a response."""
        session = self.session
        if session is None or not session.may_refresh():
            return
        session.refreshes.append(time.monotonic())
        refresh = Command("/auth/refresh", {"refresh_token": session.refresh_token})
        first = self.finish(
            refresh,
            "POST /auth/refresh",
            lambda response: checks.refresh_faults(response, session.refresh_token, refresh.uncertain),
        )
        if first is None:
            self.session = None
            return
        RUN.counts[REFRESHED] += 1
        self.repeat(refresh, repeated, SAME_TOKEN, lambda response: checks.repeated_refresh_faults(first, response))
        session.take(first.json())

    @task(10)
    def read_self(self) -> None:
        """Reads the own account, by its id or as the caller's."""
        session = self.live_session()
        if session is None:
            return
        by_id = (f"/users/{session.user['id']}", "GET /users/{id}, own")
        path, name = random.choice((by_id, ("/users/me", "GET /users/me")))
        known = session.user
        if self.get(path, name, lambda response: checks.read_faults(response, known), session.access_token):
            RUN.counts[READ_SELF] += 1

    @task(1)
    def read_another(self) -> None:
        """Tries to read another user."""
        session, other = self.live_session(), RUN.accounts.any()
        if session is None or other is None:
            return
        # There may be no other user yet.
        identity = other["id"] if other["id"] != session.user["id"] else UNKNOWN
        name = "GET /users/{id}, another"
        if self.get(f"/users/{identity}", name, checks.denied_faults, session.access_token):
            RUN.counts[DENIED] += 1

    def live_session(self) -> Session | None:
        """The session, with an access token that has not expired."""
        if self.session is not None and self.session.expires_at - TOO_OLD < time.monotonic():
            self.refresh()
        return self.session

    def repeat(
        self,
        command: Command,
        share: float,
        counted: str,
        faults: Callable[[Response], list[str]],
    ) -> None:
        """Perhaps repeats a completed request, as a client that did not get the response."""
        if random.random() < share:
            # Only a login hashes a password again.
            may_be_refused = ("overloaded", "unavailable") if command.path == "/auth/login" else ("unavailable",)
            again = self.post(command, f"POST {command.path}, repeated", faults, may_be_refused)
            RUN.counts[counted] += isinstance(again, Response)


class Machine(Client):
    """Another service, which reads any user and lists them with its key."""

    abstract = not SERVICE_KEY

    def on_start(self) -> None:
        """Waits for the first account, and runs each task once."""
        while RUN.accounts.any() is None and self.wait_until(time.monotonic() + 0.2):
            pass
        self.read_by_id()
        self.look_up()
        self.list_users()

    @task(8)
    def read_by_id(self) -> None:
        """Reads a user back."""
        known = RUN.accounts.any()
        if known is not None and self.get(
            f"/users/{known['id']}",
            "GET /users/{id}",
            lambda response: checks.read_faults(response, known),
            SERVICE_KEY,
        ):
            RUN.counts[READ] += 1

    @task(4)
    def look_up(self) -> None:
        """Finds a user by the address, as typed or in lower case."""
        known = RUN.accounts.any()
        if known is None:
            return
        email = random.choice((known["email"], known["email"].lower()))
        if self.get(
            f"/users?email={quote(email, safe='')}",
            "GET /users?email=",
            lambda response: checks.look_up_faults(response, known),
            SERVICE_KEY,
        ):
            RUN.counts[LOOKED_UP] += 1

    @task(2)
    def list_users(self) -> None:
        """Reads some pages of the list, from the newest user on."""
        walk = checks.Walk(RUN.accounts.all())
        limit = random.choice((5, 20, 100))
        path, name = f"/users?limit={limit}", "GET /users?limit="
        for _ in range(MOST_PAGES):
            response = self.get(path, name, lambda response: walk.page_faults(response, limit), SERVICE_KEY)
            if response is None:
                return
            RUN.counts[PAGES] += 1
            cursor = response.json()["next_cursor"]
            if cursor is None:
                return
            path = f"/users?limit={limit}&cursor={quote(cursor, safe='')}"
            name = "GET /users?limit=&cursor="


def log_faults(name: str, request_id: str, status: int, faults: list[str]) -> None:
    """Logs the faults, with the request id to look up in the log of the service."""
    RUN.faults_logged += 1
    if RUN.faults_logged <= FAULTS_LOGGED:
        what = "; ".join(faults)
        logging.error("wrong: %s: %s (status %d, request %s)", name, what, status, request_id)
    elif RUN.faults_logged == FAULTS_LOGGED + 1:
        logging.error("wrong: further ones are counted but not logged")


@events.init.add_listener
def stay_on_this_machine(environment: Environment, **_: Any) -> None:
    """Refuses any other host: this creates hundreds of accounts."""
    if not checks.is_loopback(environment.host or ""):
        print("The host must be a loopback address: --host http://127.0.0.1:…", file=sys.stderr)
        sys.exit(2)


@events.init.add_listener
def end_with_a_report(**_: Any) -> None:
    """Lets an interrupted run write its report.

    With shapes Locust does so for Ctrl-C only, which does not reach processes that a script has
    started in the background.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@events.quitting.add_listener
def judge(environment: Environment, **_: Any) -> None:
    """Sets the exit code: a run passes if there were no faults and every check was made."""
    passed = environment.stats.total.num_failures == 0
    passed &= not (environment.runner and environment.runner.exceptions)
    passed &= all(RUN.counts[what] for what in NEEDED)
    environment.process_exit_code = 0 if passed else WRONG


@events.quit.add_listener
def sum_up(exit_code: int, **_: Any) -> None:
    """Prints a summary of the checks as the last output, below the tables of Locust."""
    for what in (SIGNED_UP, AFTER_REFUSAL, *OF_USERS[1:], *OF_SERVICES):
        never = "   <- none, so the run fails" if what in NEEDED and not RUN.counts[what] else ""
        print(f"{RUN.counts[what]:8} {what}{never}")
    for slug in ("overloaded", "unavailable", "request-in-progress"):
        print(f"{RUN.refused[slug]:8} refusals: {slug}")
    print(f"{len(RUN.unfinished):8} refused signups not retried before the end")
    print(f"{RUN.faults_logged:8} wrong responses", flush=True)

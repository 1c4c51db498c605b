"""Users that sign up, read and list, and the result of checking their responses.

    locust --config locust/locust.conf --host http://127.0.0.1:8000

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

# The share of completed signups that are repeated. A real client does that when the response is
# lost in transit.
REPEATED = 0.3

# The most pages that a user reads in a row.
MOST_PAGES = 5

# The longest wait after a refusal, in seconds, before the random part.
LONGEST_WAIT = 30.0

# Parts of a name; not all of them ASCII.
GIVEN = ("Ada", "Grace", "Kurt", "Zoë", "Jiří", "李")
FAMILY = ("Lovelace", "Hopper", "Gödel", "Núñez", "Novák", "小龍")


@dataclass
class Signup:
    """A signup to be made, with one key for all of its tries."""

    key: str
    values: dict[str, str]
    refusals: int = 0
    # When it may be retried, by the monotonic clock.
    not_before: float = 0.0
    # The outcome of a try is unknown, so the account may exist already.
    uncertain: bool = False

    @classmethod
    def new(cls) -> "Signup":
        """A signup that was not made before."""
        values = {
            "name": f"{random.choice(GIVEN)} {random.choice(FAMILY)}",
            # The case is kept in responses and ignored in look-ups.
            "email": f"Load-{secrets.token_hex(12)}@Example.org",
            "password": f"{PASSWORD_MARK}-{secrets.token_hex(8)}",
        }
        if random.random() < 0.5:
            values["display_name"] = random.choice(GIVEN)
        return cls(key=str(uuid.uuid4()), values=values)


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
    unfinished: deque[Signup] = field(default_factory=deque)
    counts: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    faults_logged: int = 0


RUN = Run()

# Checks that must have been made at least once for a run to pass, as named in the summary.
SIGNED_UP = "signups that created an account"
AFTER_REFUSAL = "of those, after a refusal, with the same key"
REPLAYED = "repeated signups, compared with the first response"
READ = "reads by id, compared with the signup response"
LOOKED_UP = "look-ups by address, compared with the signup response"
PAGES = "pages of the list, checked for order and repeated ids"
NEEDED = (SIGNED_UP, REPLAYED, READ, LOOKED_UP, PAGES)


class Visitor(FastHttpUser):
    """A user that signs up now and then, and reads more often."""

    wait_time = between(0.5, 1.5)
    # The service responds within 10 s, so a client with a longer timeout gets the response.
    network_timeout = 15.0
    connection_timeout = 15.0
    # Retries are part of the test and must not happen implicitly.
    max_retries = 0

    def on_start(self) -> None:
        """Runs each task once, so that even the shortest run checks everything."""
        self.sign_up(repeated=1.0)
        self.read_by_id()
        self.look_up()
        self.list_users()

    @task(6)
    def sign_up(self, repeated: float = REPEATED) -> None:
        """Signs up, and perhaps repeats the request."""
        left_behind = RUN.unfinished and RUN.unfinished[0].not_before <= time.monotonic()
        signup = RUN.unfinished.popleft() if left_behind else Signup.new()
        first = self.finish(signup)
        if first is None:
            return
        RUN.accounts.remember(first.json())
        RUN.counts[SIGNED_UP] += 1
        if signup.refusals:
            RUN.counts[AFTER_REFUSAL] += 1
        if random.random() < repeated:
            again = self.post(
                signup,
                "POST /signup, repeated",
                lambda response: checks.replay_faults(first, response),
                may_be_refused=("unavailable",),
            )
            if isinstance(again, Response):
                RUN.counts[REPLAYED] += 1

    @task(8)
    def read_by_id(self) -> None:
        """Reads a user back."""
        known = RUN.accounts.any()
        if known is not None and self.get(
            f"/users/{known['id']}",
            "GET /users/{id}",
            lambda response: checks.read_faults(response, known),
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
        ):
            RUN.counts[LOOKED_UP] += 1

    @task(2)
    def list_users(self) -> None:
        """Reads some pages of the list, from the newest user on."""
        walk = checks.Walk(RUN.accounts.all())
        limit = random.choice((5, 20, 100))
        path, name = f"/users?limit={limit}", "GET /users?limit="
        for _ in range(MOST_PAGES):
            response = self.get(path, name, lambda response: walk.page_faults(response, limit))
            if response is None:
                return
            RUN.counts[PAGES] += 1
            cursor = response.json()["next_cursor"]
            if cursor is None:
                return
            path = f"/users?limit={limit}&cursor={quote(cursor, safe='')}"
            name = "GET /users?limit=&cursor="

    def finish(self, signup: Signup) -> Response | None:
        """Retries until there is a correct response. `None` after a wrong one, or when the user has to leave."""
        while True:
            may_be_refused = ["overloaded", "unavailable"]
            if signup.uncertain:
                may_be_refused.append("request-in-progress")
            outcome = self.post(
                signup,
                "POST /signup",
                lambda response: checks.signup_faults(response, signup.values, signup.uncertain),
                may_be_refused=tuple(may_be_refused),
            )
            if not isinstance(outcome, Refusal):
                return outcome
            signup.refusals += 1
            # After `overloaded` nothing was done; after the others the outcome is unknown.
            signup.uncertain |= outcome.slug != "overloaded"
            # As documented for clients: at least this long, longer each time, and not all at once.
            at_least = float(outcome.retry_after or 1)
            doubled = min(at_least * 2 ** (signup.refusals - 1), LONGEST_WAIT)
            wait = max(at_least, doubled) + random.uniform(0, at_least)
            signup.not_before = time.monotonic() + wait
            if not self.wait_until(signup.not_before):
                RUN.unfinished.append(signup)
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
        signup: Signup,
        name: str,
        faults: Callable[[Response], list[str]],
        may_be_refused: tuple[str, ...],
    ) -> Response | Refusal | None:
        """Sends a signup with its key. `None` after a wrong response."""
        return self.exchange(
            "POST",
            "/signup",
            name,
            faults,
            may_be_refused,
            json=signup.values,
            headers={"Idempotency-Key": signup.key},
        )

    def get(self, path: str, name: str, faults: Callable[[Response], list[str]]) -> Response | None:
        """Sends a read. `None` after a refusal or a wrong response."""
        outcome = self.exchange("GET", path, name, faults, ("unavailable",))
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

        A refusal gets a separate row in the statistics, so that it does not count as a fast signup.
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
    for what in (SIGNED_UP, AFTER_REFUSAL, REPLAYED, READ, LOOKED_UP, PAGES):
        never = "   <- none, so the run fails" if what in NEEDED and not RUN.counts[what] else ""
        print(f"{RUN.counts[what]:8} {what}{never}")
    for slug in ("overloaded", "unavailable", "request-in-progress"):
        print(f"{RUN.refused[slug]:8} refusals: {slug}")
    print(f"{len(RUN.unfinished):8} refused signups not retried before the end")
    print(f"{RUN.faults_logged:8} wrong responses", flush=True)

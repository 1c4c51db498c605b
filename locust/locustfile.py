"""The users who sign up, read and list, and the verdict over the answers that they got.

    locust --config locust/locust.conf --host http://127.0.0.1:8000

`scripts/load.sh` does that with a service of its own. `README.md` beside this file says what the
figures mean, `checks.py` what a wrong answer is.
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
from checks import Answer, Refusal, User
from locust import FastHttpUser, between, events, task
from locust.env import Environment
from locust.user.task import LOCUST_STATE_STOPPING

Shape = shapes.chosen(os.environ)

# The exit code of a run with wrong answers; another one that is not 0 means that it could not run.
WRONG = 3

# A text that is in every password of this run. So one search in a body finds any of them.
PASSWORD_MARK = secrets.token_hex(8)

# How many of the faults are told in the log, with the request id. All of them are counted.
FAULTS_TOLD = 20

# Of the signups that were answered, how many are sent again. A real client does it when the answer
# is lost on its way.
SENT_AGAIN = 0.3

# The most pages that a user turns.
MOST_PAGES = 5

# The longest wait after a refusal, in seconds, before the random part.
LONGEST_WAIT = 30.0

# Parts of a name; not all of them ASCII.
GIVEN = ("Ada", "Grace", "Kurt", "Zoë", "Jiří", "李")
FAMILY = ("Lovelace", "Hopper", "Gödel", "Núñez", "Novák", "小龍")


@dataclass
class Signup:
    """A signup that somebody wants to make, with the one key for all of its tries."""

    key: str
    values: dict[str, str]
    refusals: int = 0
    # When it may be tried again, by the monotonic clock.
    not_before: float = 0.0
    # A try was left without a certain answer, so the account may be there already.
    uncertain: bool = False

    @classmethod
    def new(cls) -> "Signup":
        """A signup that nobody has made before."""
        values = {
            "name": f"{random.choice(GIVEN)} {random.choice(FAMILY)}",
            # The case is kept in answers and does not count in look-ups.
            "email": f"Load-{secrets.token_hex(12)}@Example.org",
            "password": f"{PASSWORD_MARK}-{secrets.token_hex(8)}",
        }
        if random.random() < 0.5:
            values["display_name"] = random.choice(GIVEN)
        return cls(key=str(uuid.uuid4()), values=values)


class Accounts:
    """Users as signup answered them: the newest so many, to read them back."""

    LIMIT = 1000

    def __init__(self) -> None:
        self._users: OrderedDict[str, User] = OrderedDict()

    def remember(self, user: User) -> None:
        """Adds a user; the oldest one leaves when there are too many."""
        self._users[user["id"]] = user
        while len(self._users) > self.LIMIT:
            self._users.popitem(last=False)

    def all(self) -> list[User]:
        """All that are remembered."""
        return list(self._users.values())

    def any(self) -> User | None:
        """One of them."""
        return random.choice(self.all()) if self._users else None


@dataclass
class Run:
    """What the users of this process share."""

    accounts: Accounts = field(default_factory=Accounts)
    # Refused, and left behind by users who were told to leave. Others finish them, with the same
    # keys.
    unfinished: deque[Signup] = field(default_factory=deque)
    counts: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    faults_told: int = 0


RUN = Run()

# What must have been checked at least once for a run to pass, as the summary calls it.
SIGNED_UP = "signups that made an account"
AFTER_REFUSAL = "of those, after a refusal, with the same key"
SENT_TWICE = "answered signups sent again, and compared"
READ = "reads by id, compared with what signup answered"
LOOKED_UP = "look-ups by address, compared with what signup answered"
PAGES = "pages of the list, checked for order and repeated ids"
NEEDED = (SIGNED_UP, SENT_TWICE, READ, LOOKED_UP, PAGES)


class Visitor(FastHttpUser):
    """Somebody who signs up now and then, and reads more often."""

    wait_time = between(0.5, 1.5)
    # The service answers within 10 s, so a client that waits for longer hears the answer.
    network_timeout = 15.0
    connection_timeout = 15.0
    # A request that is sent again is a thing to be seen here, and never done unseen.
    max_retries = 0

    def on_start(self) -> None:
        """Does each once, so that even the shortest run checks everything."""
        self.sign_up(sent_again=1.0)
        self.read_by_id()
        self.look_up()
        self.list_users()

    @task(6)
    def sign_up(self, sent_again: float = SENT_AGAIN) -> None:
        """Signs up, and perhaps sends the same once more."""
        left_behind = RUN.unfinished and RUN.unfinished[0].not_before <= time.monotonic()
        signup = RUN.unfinished.popleft() if left_behind else Signup.new()
        first = self.finish(signup)
        if first is None:
            return
        RUN.accounts.remember(first.json())
        RUN.counts[SIGNED_UP] += 1
        if signup.refusals:
            RUN.counts[AFTER_REFUSAL] += 1
        if random.random() < sent_again:
            again = self.post(
                signup,
                "POST /signup, sent again",
                lambda answer: checks.replay_faults(first, answer),
                may_be_refused=("unavailable",),
            )
            if isinstance(again, Answer):
                RUN.counts[SENT_TWICE] += 1

    @task(8)
    def read_by_id(self) -> None:
        """Reads a user back."""
        known = RUN.accounts.any()
        if known is not None and self.get(
            f"/users/{known['id']}",
            "GET /users/{id}",
            lambda answer: checks.read_faults(answer, known),
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
            lambda answer: checks.look_up_faults(answer, known),
        ):
            RUN.counts[LOOKED_UP] += 1

    @task(2)
    def list_users(self) -> None:
        """Turns some pages of the list, from the newest user on."""
        walk = checks.Walk(RUN.accounts.all())
        limit = random.choice((5, 20, 100))
        path, name = f"/users?limit={limit}", "GET /users?limit="
        for _ in range(MOST_PAGES):
            answer = self.get(path, name, lambda answer: walk.page_faults(answer, limit))
            if answer is None:
                return
            RUN.counts[PAGES] += 1
            cursor = answer.json()["next_cursor"]
            if cursor is None:
                return
            path = f"/users?limit={limit}&cursor={quote(cursor, safe='')}"
            name = "GET /users?limit=&cursor="

    def finish(self, signup: Signup) -> Answer | None:
        """Tries until there is a right answer. `None` after a wrong one, or when told to leave."""
        while True:
            may_be_refused = ["overloaded", "unavailable"]
            if signup.uncertain:
                may_be_refused.append("request-in-progress")
            outcome = self.post(
                signup,
                "POST /signup",
                lambda answer: checks.signup_faults(answer, signup.values, signup.uncertain),
                may_be_refused=tuple(may_be_refused),
            )
            if not isinstance(outcome, Refusal):
                return outcome
            signup.refusals += 1
            # Nothing was done for one that is overloaded; the others leave it open.
            signup.uncertain |= outcome.slug != "overloaded"
            # As the service asks of its clients: at least so long, longer each time, and not all at
            # once.
            at_least = float(outcome.retry_after or 1)
            doubled = min(at_least * 2 ** (signup.refusals - 1), LONGEST_WAIT)
            wait = max(at_least, doubled) + random.uniform(0, at_least)
            signup.not_before = time.monotonic() + wait
            if not self.wait_until(signup.not_before):
                RUN.unfinished.append(signup)
                return None

    def wait_until(self, moment: float) -> bool:
        """Waits. False if this user was told to leave meanwhile."""
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
        faults: Callable[[Answer], list[str]],
        may_be_refused: tuple[str, ...],
    ) -> Answer | Refusal | None:
        """Sends a signup with its key. `None` after a wrong answer."""
        return self.ask(
            "POST",
            "/signup",
            name,
            faults,
            may_be_refused,
            json=signup.values,
            headers={"Idempotency-Key": signup.key},
        )

    def get(self, path: str, name: str, faults: Callable[[Answer], list[str]]) -> Answer | None:
        """Reads. `None` after a refusal or a wrong answer."""
        outcome = self.ask("GET", path, name, faults, ("unavailable",))
        return outcome if isinstance(outcome, Answer) else None

    def ask(
        self,
        method: str,
        path: str,
        name: str,
        faults_of: Callable[[Answer], list[str]],
        may_be_refused: tuple[str, ...],
        headers: dict[str, str] | None = None,
        **body: Any,
    ) -> Answer | Refusal | None:
        """Sends a request, and tells Locust whether the answer is right.

        A refusal gets a row of its own in the statistics, not to pass for a fast signup.
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
        ) as response:
            answer = Answer(
                status=response.status_code,
                headers={key.lower(): value for key, value in (response.headers or {}).items()},
                body=response.content or b"",
            )
            faults = checks.any_faults(answer, request_id, PASSWORD_MARK)
            refused = checks.refusal(answer)
            if refused is not None and refused.slug in may_be_refused:
                response.request_meta["name"] = f"{name}, refused: {refused.slug}"
                RUN.refused[refused.slug] += 1
                faults += checks.refusal_faults(answer, refused)
                if not Shape.may_be_refused:
                    faults.append(f"{refused.slug} at a load that must be served")
            elif answer.status:
                refused = None
                faults += faults_of(answer)
            if not faults:
                response.success()
                return refused or answer
            response.failure("; ".join(faults))
        tell(name, request_id, answer.status, faults)
        # Also a refusal that is a fault here is tried again: the client does as it should.
        return refused


def tell(name: str, request_id: str, status: int, faults: list[str]) -> None:
    """Logs what was wrong, with the id by which the log of the service knows more."""
    RUN.faults_told += 1
    if RUN.faults_told <= FAULTS_TOLD:
        what = "; ".join(faults)
        logging.error("wrong: %s: %s (status %d, request %s)", name, what, status, request_id)
    elif RUN.faults_told == FAULTS_TOLD + 1:
        logging.error("wrong: further ones are counted and not told here")


@events.init.add_listener
def stay_on_this_machine(environment: Environment, **_: Any) -> None:
    """Refuses any other host: this makes accounts by the hundred."""
    if not checks.is_loopback(environment.host or ""):
        print("The load stays on this machine: --host http://127.0.0.1:…", file=sys.stderr)
        sys.exit(2)


@events.init.add_listener
def end_with_a_report(**_: Any) -> None:
    """Lets a run that is told to end write its report.

    With shapes Locust does so for Ctrl-C only, and that does not reach what a script has started in
    the background.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@events.quitting.add_listener
def judge(environment: Environment, **_: Any) -> None:
    """Sets the exit code: a run passes if nothing was wrong and everything was tried."""
    passed = environment.stats.total.num_failures == 0
    passed &= not (environment.runner and environment.runner.exceptions)
    passed &= all(RUN.counts[what] for what in NEEDED)
    environment.process_exit_code = 0 if passed else WRONG


@events.quit.add_listener
def sum_up(exit_code: int, **_: Any) -> None:
    """Prints what was checked; the last thing in the output, below the tables of Locust."""
    for what in (SIGNED_UP, AFTER_REFUSAL, SENT_TWICE, READ, LOOKED_UP, PAGES):
        never = "   <- none, so the run fails" if what in NEEDED and not RUN.counts[what] else ""
        print(f"{RUN.counts[what]:8} {what}{never}")
    for slug in ("overloaded", "unavailable", "request-in-progress"):
        print(f"{RUN.refused[slug]:8} refusals: {slug}")
    print(f"{len(RUN.unfinished):8} refused signups that the run ended too early for")
    print(f"{RUN.faults_told:8} wrong answers", flush=True)

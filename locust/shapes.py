"""How many users there are, and when.

`SHAPE` in the environment chooses one of `SHAPES`. A user waits for an answer before the next
request, so there are never more requests at a time than users.
"""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from locust import LoadTestShape

# The longest soak, in minutes: the log and the database of the service grow with it.
LONGEST_SOAK = 480


@dataclass(frozen=True)
class Stage:
    """A part of a run: so long, with so many users, of whom so many come or go in a second."""

    seconds: int
    users: int
    per_second: int


class Staged(LoadTestShape):
    """A run of stages, one after the other."""

    abstract = True
    stages: ClassVar[Sequence[Stage]]
    # Whether a 503 is part of the plan. Where it is not, it fails the run.
    may_be_refused: ClassVar[bool] = True

    def tick(self) -> tuple[int, float] | None:
        """The users of this moment; `None` after the last stage, which ends the run."""
        left = self.get_run_time()
        for stage in self.stages:
            if left < stage.seconds:
                return stage.users, stage.per_second
            left -= stage.seconds
        return None


def soak_minutes(environment: Mapping[str, str]) -> int:
    """The length of the soak, 30 minutes if it is not said."""
    text = environment.get("SOAK_MINUTES") or "30"
    if not re.fullmatch("[0-9]{1,3}", text) or not 1 <= int(text) <= LONGEST_SOAK:
        sys.exit(f"SOAK_MINUTES must be a whole number from 1 to {LONGEST_SOAK}, not {text!r}.")
    return int(text)


class Smoke(Staged):
    """A few users for a moment: does everything answer, and is it right? Nothing may be refused."""

    stages = (Stage(seconds=20, users=5, per_second=5),)
    may_be_refused = False


class Steady(Staged):
    """What two cores can bear for long. Its figures may be compared from run to run."""

    stages = (
        Stage(seconds=20, users=5, per_second=1),
        Stage(seconds=160, users=15, per_second=1),
    )


class Spike(Staged):
    """Far more signups at once than can be hashed in time, and then the time to get over it."""

    stages = (
        Stage(seconds=20, users=10, per_second=5),
        Stage(seconds=40, users=200, per_second=50),
        Stage(seconds=120, users=20, per_second=50),
    )


class Soak(Staged):
    """The same load for long: does anything grow, slow down or run out?"""

    stages = (Stage(seconds=60 * soak_minutes(os.environ), users=10, per_second=1),)


SHAPES: Mapping[str, type[Staged]] = {
    "smoke": Smoke,
    "steady": Steady,
    "spike": Spike,
    "soak": Soak,
}


def chosen(environment: Mapping[str, str]) -> type[Staged]:
    """The shape that `SHAPE` names; smoke if it names none."""
    name = environment.get("SHAPE") or "smoke"
    if name not in SHAPES:
        sys.exit(f"SHAPE must be one of {', '.join(SHAPES)}, not {name!r}.")
    return SHAPES[name]

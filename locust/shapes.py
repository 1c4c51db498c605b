"""Load shapes: the number of users over time.

`SHAPE` in the environment chooses one of `SHAPES`. A user waits for a response before the next
request, so there are never more concurrent requests than users.
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
    """A part of a run: its length, its users, and how many of them start or stop per second."""

    seconds: int
    users: int
    per_second: int


class Staged(LoadTestShape):
    """A run of stages, one after the other."""

    abstract = True
    stages: ClassVar[Sequence[Stage]]
    # Whether a 503 is allowed. Otherwise it fails the run.
    may_be_refused: ClassVar[bool] = True

    def tick(self) -> tuple[int, float] | None:
        """The current number of users; `None` after the last stage, which ends the run."""
        left = self.get_run_time()
        for stage in self.stages:
            if left < stage.seconds:
                return stage.users, stage.per_second
            left -= stage.seconds
        return None


def soak_minutes(environment: Mapping[str, str]) -> int:
    """The length of the soak in minutes, 30 by default."""
    text = environment.get("SOAK_MINUTES") or "30"
    if not re.fullmatch("[0-9]{1,3}", text) or not 1 <= int(text) <= LONGEST_SOAK:
        sys.exit(f"SOAK_MINUTES must be a whole number from 1 to {LONGEST_SOAK}, not {text!r}.")
    return int(text)


class Smoke(Staged):
    """A few users for a short time: does everything respond, and correctly? No refusals allowed."""

    stages = (Stage(seconds=20, users=5, per_second=5),)
    may_be_refused = False


class Steady(Staged):
    """A load that two cores can sustain. Its figures may be compared from run to run."""

    stages = (
        Stage(seconds=20, users=5, per_second=1),
        Stage(seconds=160, users=15, per_second=1),
    )


class Spike(Staged):
    """Far more signups at once than can be hashed in time, and then time to recover."""

    stages = (
        Stage(seconds=20, users=10, per_second=5),
        Stage(seconds=40, users=200, per_second=50),
        Stage(seconds=120, users=20, per_second=50),
    )


class Soak(Staged):
    """A constant load for a long time: does anything grow, slow down or run out?"""

    stages = (Stage(seconds=60 * soak_minutes(os.environ), users=10, per_second=1),)


SHAPES: Mapping[str, type[Staged]] = {
    "smoke": Smoke,
    "steady": Steady,
    "spike": Spike,
    "soak": Soak,
}


def chosen(environment: Mapping[str, str]) -> type[Staged]:
    """The shape named by `SHAPE`; smoke by default."""
    name = environment.get("SHAPE") or "smoke"
    if name not in SHAPES:
        sys.exit(f"SHAPE must be one of {', '.join(SHAPES)}, not {name!r}.")
    return SHAPES[name]

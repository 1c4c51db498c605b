"""Tests of the checks: each fault is seen, and what is right is let pass.

A load test whose checks see nothing passes as well as one that checks.
"""

import json
import unittest
from typing import Any

import checks
from checks import Answer, Refusal, Walk

SECRET = "0f1e2d3c4b5a6978"
VALUES = {"name": "Ada", "email": "Ada@example.org", "password": f"{SECRET}-1"}


def user(number: int, **other: str) -> dict[str, str]:
    """The user who came as number so and so; a higher number is a newer user."""
    return {
        "id": f"01a1fcd0-39d9-7edf-9953-{number:012}",
        "name": "Ada",
        "email": "Ada@example.org",
        "display_name": "Ada",
        "created_at": f"2026-11-21T06:34:27.{number:06}Z",
        **other,
    }


def answer(body: Any, status: int = 200, **headers: str) -> Answer:
    """An answer with this JSON. A header is named with `_`, and left out if it is empty."""
    named = {"x_request_id": "r", "content_type": "application/json", **headers}
    return Answer(
        status,
        {name.replace("_", "-"): value for name, value in named.items() if value},
        json.dumps(body).encode(),
    )


def signed_up(body: Any = None, status: int = 201, **headers: str) -> Answer:
    """The right answer to a signup, but for what is said."""
    body = user(1) if body is None else body
    return answer(body, status, **{"location": f"/users/{user(1)['id']}", **headers})


def page(users: list[dict[str, str]], cursor: str | None = None) -> Answer:
    """A page of the list."""
    return answer({"users": users, "next_cursor": cursor})


class AnyAnswer(unittest.TestCase):
    """What holds for every answer."""

    def test_a_right_answer_has_no_faults(self) -> None:
        self.assertEqual(checks.any_faults(answer(user(1)), "r", SECRET), [])

    def test_each_fault_is_seen(self) -> None:
        for wrong in (
            Answer(0, {}, b""),
            answer(user(1), x_request_id=""),
            answer(user(1), x_request_id="another"),
            answer(user(1, name=f"it is {SECRET}-1")),
            answer(user(1, name="$2b$12$abcdefghijklmnopqrstuv")),
            answer(user(1, name="$bcrypt-sha256$v=2,t=2b,r=12$abc")),
            answer(user(1, password="********")),
            answer({"users": [user(1, password_hash="x")]}),
        ):
            with self.subTest(wrong):
                self.assertEqual(len(checks.any_faults(wrong, "r", SECRET)), 1)


class Signups(unittest.TestCase):
    """First answers, and those that are given again."""

    def test_a_right_answer_has_no_faults(self) -> None:
        self.assertEqual(checks.signup_faults(signed_up(), VALUES, False), [])
        named = {**VALUES, "display_name": "A."}
        body = user(1, display_name="A.", one_day="more")
        self.assertEqual(checks.signup_faults(signed_up(body), named, False), [])

    def test_each_fault_is_seen(self) -> None:
        without_name = user(1)
        del without_name["name"]
        for wrong in (
            signed_up(status=200),
            signed_up(status=409),
            signed_up(status=500),
            signed_up(content_type="text/html"),
            signed_up([]),
            signed_up(without_name),
            signed_up(user(1, name="Eva")),
            signed_up(user(1, email="ada@example.org")),
            signed_up(user(1, display_name="Eva")),
            signed_up(user(1, id="42"), location="/users/42"),
            signed_up(user(1, created_at="2026-11-21T06:34:27Z")),
            signed_up(location=""),
            signed_up(location="/users/42"),
            signed_up(idempotent_replayed="true"),
        ):
            with self.subTest(wrong):
                self.assertEqual(len(checks.signup_faults(wrong, VALUES, False)), 1)

    def test_a_try_after_an_uncertain_one_may_be_a_replay(self) -> None:
        replayed = signed_up(idempotent_replayed="true")
        self.assertEqual(checks.signup_faults(replayed, VALUES, True), [])

    def test_a_right_replay_has_no_faults(self) -> None:
        again = signed_up(idempotent_replayed="true", x_request_id="another")
        self.assertEqual(checks.replay_faults(signed_up(), again), [])

    def test_each_fault_of_a_replay_is_seen(self) -> None:
        for wrong in (
            signed_up(status=409, idempotent_replayed="true"),
            signed_up(user(1, name="Eva"), idempotent_replayed="true"),
            signed_up(location="/users/42", idempotent_replayed="true"),
            signed_up(content_type="text/html", idempotent_replayed="true"),
            signed_up(),
        ):
            with self.subTest(wrong):
                self.assertEqual(len(checks.replay_faults(signed_up(), wrong)), 1)


class Refusals(unittest.TestCase):
    """503, and 409 about a key that is still running."""

    @staticmethod
    def problem(slug: str, status: int, **headers: str) -> Answer:
        """A problem as the service writes them."""
        headers = {"content_type": "application/problem+json", "retry_after": "2", **headers}
        return answer({"type": f"/problems/{slug}", "status": status}, status, **headers)

    def test_they_are_told_from_other_answers(self) -> None:
        for slug, status in (
            ("overloaded", 503),
            ("unavailable", 503),
            ("request-in-progress", 409),
        ):
            refused = self.problem(slug, status)
            self.assertEqual(checks.refusal(refused), Refusal(slug, 2))
            self.assertEqual(checks.refusal_faults(refused, Refusal(slug, 2)), [])
        for other in (
            self.problem("email-already-registered", 409),
            self.problem("overloaded", 500),
            self.problem("internal-error", 500),
            self.problem("not-ready", 503),
            answer("busy", 503),
            answer(user(1)),
        ):
            self.assertIsNone(checks.refusal(other))

    def test_they_say_when_to_come_back(self) -> None:
        for wrong in (
            self.problem("overloaded", 503, retry_after=""),
            self.problem("overloaded", 503, retry_after="soon"),
            self.problem("overloaded", 503, content_type="application/json"),
        ):
            refused = checks.refusal(wrong)
            assert refused is not None
            with self.subTest(wrong):
                self.assertEqual(len(checks.refusal_faults(wrong, refused)), 1)


class Reads(unittest.TestCase):
    """What is read is what signup answered."""

    def test_right_answers_have_no_faults(self) -> None:
        self.assertEqual(checks.read_faults(answer(user(1)), user(1)), [])
        self.assertEqual(checks.look_up_faults(answer({"users": [user(1)]}), user(1)), [])

    def test_each_fault_of_a_read_is_seen(self) -> None:
        for wrong in (
            answer(user(1), 404),
            answer(None),
            answer(user(1), content_type=""),
            *(answer(user(1, **{member: user(2)[member]})) for member in ("id", "created_at")),
            *(answer(user(1, **{member: "Eva"})) for member in ("name", "email", "display_name")),
        ):
            with self.subTest(wrong):
                self.assertEqual(len(checks.read_faults(wrong, user(1))), 1)

    def test_each_fault_of_a_look_up_is_seen(self) -> None:
        for wrong in (
            answer({"users": [user(1)]}, 400),
            answer([user(1)]),
            answer({"users": []}),
            answer({"users": [user(1), user(2)]}),
            answer({"users": [user(1, name="Eva")]}),
        ):
            with self.subTest(wrong):
                self.assertEqual(len(checks.look_up_faults(wrong, user(1))), 1)


class Lists(unittest.TestCase):
    """Pages: newest first, each user once, nobody left out."""

    def faults(self, *pages: Answer, known: tuple[int, ...] = (), limit: int = 2) -> list[str]:
        """All faults of a walk over these pages."""
        walk = Walk(user(number) for number in known)
        return [fault for each in pages for fault in walk.page_faults(each, limit)]

    def test_right_walks_have_no_faults(self) -> None:
        self.assertEqual(self.faults(page([])), [])
        first, second = page([user(4), user(3)], "c"), page([user(2), user(1)])
        self.assertEqual(self.faults(first, second, known=(1, 2, 3, 4)), [])
        # The walk may end before it comes to those who are older.
        self.assertEqual(self.faults(first, known=(1, 2, 3)), [])

    def test_two_of_one_moment_may_stand_on_two_pages(self) -> None:
        twin = user(3, created_at=user(4)["created_at"])
        walk = Walk([user(4), twin])
        self.assertEqual(walk.page_faults(page([user(5), user(4)], "c"), 2), [])
        self.assertEqual(walk.page_faults(page([twin]), 2), [])

    def test_each_fault_is_seen(self) -> None:
        for wrong, known in (
            ([answer([user(1)])], ()),
            ([answer({"users": [user(1)]})], ()),
            ([answer({"users": [user(1)], "next_cursor": 1})], ()),
            ([answer({"users": [], "next_cursor": None}, 500)], ()),
            ([page([{"id": "1"}])], ()),
            ([page([user(3), user(2), user(1)])], ()),
            ([page([user(1), user(2)])], ()),
            ([page([user(2), user(2)])], ()),
            ([page([user(2)], "c"), page([user(3)])], ()),
            ([page([user(2)], "c"), page([user(2)])], ()),
            ([page([user(2, name="Eva")])], (2,)),
            ([page([user(3), user(1)], "c")], (2,)),
            ([page([user(3), user(2)])], (1,)),
            ([page([])], (1,)),
        ):
            with self.subTest(wrong):
                self.assertEqual(len(self.faults(*wrong, known=known)), 1)


class Hosts(unittest.TestCase):
    """Only this machine is loaded."""

    def test_loopback(self) -> None:
        for url in (
            "http://127.0.0.1:8000",
            "http://[::1]:80",
            "http://localhost",
            "http://127.9.9.9",
        ):
            self.assertTrue(checks.is_loopback(url), url)
        for url in ("", "http://10.0.0.1", "http://localhost.example.org", "http://example.org"):
            self.assertFalse(checks.is_loopback(url), url)


if __name__ == "__main__":
    unittest.main()

"""Tests of the checks: each fault is detected, and correct responses pass.

A load test whose checks detect nothing would pass, too.
"""

import json
import unittest
from typing import Any

import checks
from checks import Response, Refusal, Walk

SECRET = "0f1e2d3c4b5a6978"
VALUES = {"name": "Ada", "email": "Ada@example.org", "password": f"{SECRET}-1"}


def user(number: int, **other: str) -> dict[str, str]:
    """The user with a number; a higher number is a newer user."""
    return {
        "id": f"01a1fcd0-39d9-7edf-9953-{number:012}",
        "name": "Ada",
        "email": "Ada@example.org",
        "display_name": "Ada",
        "created_at": f"2026-11-21T06:34:27.{number:06}Z",
        **other,
    }


def response(body: Any, status: int = 200, **headers: str) -> Response:
    """A response with this JSON. Headers are named with `_`, and left out if empty."""
    named = {"x_request_id": "r", "content_type": "application/json", **headers}
    return Response(
        status,
        {name.replace("_", "-"): value for name, value in named.items() if value},
        json.dumps(body).encode(),
    )


def signed_up(body: Any = None, status: int = 201, **headers: str) -> Response:
    """The correct response to a signup, except for the given changes."""
    body = user(1) if body is None else body
    return response(body, status, **{"location": f"/users/{user(1)['id']}", **headers})


def page(users: list[dict[str, str]], cursor: str | None = None) -> Response:
    """A page of the list."""
    return response({"users": users, "next_cursor": cursor})


class AnyResponse(unittest.TestCase):
    """Checks of every response."""

    def test_a_correct_response_has_no_faults(self) -> None:
        self.assertEqual(checks.any_faults(response(user(1)), "r", SECRET), [])

    def test_each_fault_is_detected(self) -> None:
        for wrong in (
            Response(0, {}, b""),
            response(user(1), x_request_id=""),
            response(user(1), x_request_id="another"),
            response(user(1, name=f"it is {SECRET}-1")),
            response(user(1, name="$2b$12$abcdefghijklmnopqrstuv")),
            response(user(1, name="$bcrypt-sha256$v=2,t=2b,r=12$abc")),
            response(user(1, password="********")),
            response({"users": [user(1, password_hash="x")]}),
        ):
            with self.subTest(wrong):
                self.assertEqual(len(checks.any_faults(wrong, "r", SECRET)), 1)


class Signups(unittest.TestCase):
    """First responses, and replays."""

    def test_a_correct_response_has_no_faults(self) -> None:
        self.assertEqual(checks.signup_faults(signed_up(), VALUES, False), [])
        named = {**VALUES, "display_name": "A."}
        body = user(1, display_name="A.", one_day="more")
        self.assertEqual(checks.signup_faults(signed_up(body), named, False), [])

    def test_each_fault_is_detected(self) -> None:
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

    def test_a_retry_after_an_unknown_outcome_may_be_a_replay(self) -> None:
        replayed = signed_up(idempotent_replayed="true")
        self.assertEqual(checks.signup_faults(replayed, VALUES, True), [])

    def test_a_correct_replay_has_no_faults(self) -> None:
        again = signed_up(idempotent_replayed="true", x_request_id="another")
        self.assertEqual(checks.replay_faults(signed_up(), again), [])

    def test_each_fault_of_a_replay_is_detected(self) -> None:
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
    """503, and 409 for a key in progress."""

    @staticmethod
    def problem(slug: str, status: int, **headers: str) -> Response:
        """A problem in the format of the service."""
        headers = {"content_type": "application/problem+json", "retry_after": "2", **headers}
        return response({"type": f"/problems/{slug}", "status": status}, status, **headers)

    def test_they_are_distinguished_from_other_responses(self) -> None:
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
            response("busy", 503),
            response(user(1)),
        ):
            self.assertIsNone(checks.refusal(other))

    def test_they_have_retry_after(self) -> None:
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
    """Reads equal the signup response."""

    def test_correct_responses_have_no_faults(self) -> None:
        self.assertEqual(checks.read_faults(response(user(1)), user(1)), [])
        self.assertEqual(checks.look_up_faults(response({"users": [user(1)]}), user(1)), [])

    def test_each_fault_of_a_read_is_detected(self) -> None:
        for wrong in (
            response(user(1), 404),
            response(None),
            response(user(1), content_type=""),
            *(response(user(1, **{member: user(2)[member]})) for member in ("id", "created_at")),
            *(response(user(1, **{member: "Eva"})) for member in ("name", "email", "display_name")),
        ):
            with self.subTest(wrong):
                self.assertEqual(len(checks.read_faults(wrong, user(1))), 1)

    def test_each_fault_of_a_look_up_is_detected(self) -> None:
        for wrong in (
            response({"users": [user(1)]}, 400),
            response([user(1)]),
            response({"users": []}),
            response({"users": [user(1), user(2)]}),
            response({"users": [user(1, name="Eva")]}),
        ):
            with self.subTest(wrong):
                self.assertEqual(len(checks.look_up_faults(wrong, user(1))), 1)


class Lists(unittest.TestCase):
    """Pages: newest first, each user once, none left out."""

    def faults(self, *pages: Response, known: tuple[int, ...] = (), limit: int = 2) -> list[str]:
        """All faults of a walk over these pages."""
        walk = Walk(user(number) for number in known)
        return [fault for each in pages for fault in walk.page_faults(each, limit)]

    def test_correct_walks_have_no_faults(self) -> None:
        self.assertEqual(self.faults(page([])), [])
        first, second = page([user(4), user(3)], "c"), page([user(2), user(1)])
        self.assertEqual(self.faults(first, second, known=(1, 2, 3, 4)), [])
        # The walk may end before it reaches older users.
        self.assertEqual(self.faults(first, known=(1, 2, 3)), [])

    def test_users_of_the_same_moment_may_be_on_two_pages(self) -> None:
        twin = user(3, created_at=user(4)["created_at"])
        walk = Walk([user(4), twin])
        self.assertEqual(walk.page_faults(page([user(5), user(4)], "c"), 2), [])
        self.assertEqual(walk.page_faults(page([twin]), 2), [])

    def test_each_fault_is_detected(self) -> None:
        for wrong, known in (
            ([response([user(1)])], ()),
            ([response({"users": [user(1)]})], ()),
            ([response({"users": [user(1)], "next_cursor": 1})], ()),
            ([response({"users": [], "next_cursor": None}, 500)], ()),
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


def logged_in(status: int = 200, headers: dict[str, str] | None = None, **other: Any) -> Response:
    """The correct response to a login, except for the given changes; a member of the value `None` is left out."""
    body = {
        "access_token": "eyJ9.eyJ9.c2ln",
        "token_type": "Bearer",
        "expires_in": 1800,
        "refresh_token": "srt_new",
        "session_id": "01a1fcd0-39d9-7edf-9953-1bfef046d2c8",
        "device_token": "sdt_a",
        "user": user(1),
        **other,
    }
    body = {name: value for name, value in body.items() if value is not None}
    return response(body, status, **{"cache_control": "no-store", **(headers or {})})


WRONG_TOKENS = (
    logged_in(401),
    logged_in(headers={"content_type": "text/html"}),
    logged_in(headers={"cache_control": "max-age=60"}),
    logged_in(access_token="secret"),
    logged_in(access_token=None),
    logged_in(token_type="bearer"),
    logged_in(expires_in="1800"),
    logged_in(expires_in=86400),
    logged_in(refresh_token="new"),
    response([]),
)
REPLAYED = {"idempotent_replayed": "true"}


class Sessions(unittest.TestCase):
    """Logins, refreshes, logouts, and what a user may not read."""

    def test_a_correct_login_has_no_faults(self) -> None:
        self.assertEqual(checks.login_faults(logged_in(), user(1), False), [])
        self.assertEqual(checks.login_faults(logged_in(headers=REPLAYED), user(1), True), [])
        self.assertEqual(checks.repeated_login_faults(logged_in(), logged_in(headers=REPLAYED)), [])

    def test_each_fault_of_a_login_is_detected(self) -> None:
        for wrong in (
            *WRONG_TOKENS,
            logged_in(session_id="42"),
            logged_in(device_token=None),
            logged_in(user=user(1, name="Eva")),
            logged_in(user=None),
            logged_in(headers=REPLAYED),
        ):
            with self.subTest(wrong):
                self.assertEqual(len(checks.login_faults(wrong, user(1), False)), 1)

    def test_each_fault_of_a_repeated_login_is_detected(self) -> None:
        for wrong in (
            logged_in(),
            logged_in(503, headers=REPLAYED),
            logged_in(headers=REPLAYED, session_id="01a1fcd0-39d9-7edf-9953-1bfef046d2c9"),
            logged_in(headers=REPLAYED, refresh_token="srt_other"),
            logged_in(headers=REPLAYED, device_token="sdt_b"),
        ):
            with self.subTest(wrong):
                self.assertEqual(len(checks.repeated_login_faults(logged_in(), wrong)), 1)

    def test_a_correct_refresh_has_no_faults(self) -> None:
        self.assertEqual(checks.refresh_faults(logged_in(), "srt_old", False), [])
        self.assertEqual(checks.refresh_faults(logged_in(headers=REPLAYED), "srt_old", True), [])
        again = logged_in(headers=REPLAYED, access_token="eyJ9.eyJ9.b3RoZXI")
        self.assertEqual(checks.repeated_refresh_faults(logged_in(), again), [])

    def test_each_fault_of_a_refresh_is_detected(self) -> None:
        for wrong in (*WRONG_TOKENS, logged_in(headers=REPLAYED), logged_in(refresh_token="srt_old")):
            with self.subTest(wrong):
                self.assertEqual(len(checks.refresh_faults(wrong, "srt_old", False)), 1)
        for wrong in (logged_in(), logged_in(headers=REPLAYED, refresh_token="srt_other"), logged_in(401)):
            with self.subTest(wrong):
                self.assertEqual(len(checks.repeated_refresh_faults(logged_in(), wrong)), 1)

    def test_logouts(self) -> None:
        self.assertEqual(checks.logout_faults(Response(204, {}, b"")), [])
        for wrong in (Response(204, {}, b"{}"), response({}, 200), response({}, 401)):
            with self.subTest(wrong):
                self.assertEqual(len(checks.logout_faults(wrong)), 1)

    def test_problems(self) -> None:
        def problem(status: int, slug: str, **members: str) -> Response:
            body = {"type": f"/problems/{slug}", "status": status, **members}
            return response(body, status, content_type="application/problem+json")

        ended = problem(401, "session-ended", reason="logged_out")
        self.assertEqual(checks.ended_faults(ended), [])
        for wrong in (
            logged_in(),
            problem(401, "session-ended", reason="reused"),
            problem(401, "refresh-token-invalid"),
            response({"type": "/problems/session-ended", "reason": "logged_out"}, 401),
        ):
            with self.subTest(wrong):
                self.assertEqual(len(checks.ended_faults(wrong)), 1)
        self.assertEqual(checks.denied_faults(problem(404, "user-not-found")), [])
        for wrong in (response(user(1)), problem(403, "permission-denied"), problem(404, "not-found")):
            with self.subTest(wrong):
                self.assertEqual(len(checks.denied_faults(wrong)), 1)


class Hosts(unittest.TestCase):
    """Only loopback hosts are allowed."""

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

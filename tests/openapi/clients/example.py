"""A client that `openapi-python-client` generates: a signup with a key, its retry, pages, and problems by their type.

    python example.py http://127.0.0.1:8000      with the generated package on PYTHONPATH
"""

from __future__ import annotations

import sys
import uuid

from signup_service_client import Client
from signup_service_client.api.signup import sign_up
from signup_service_client.api.users import list_users
from signup_service_client.models import (
    EmailAlreadyRegisteredProblem,
    FieldErrorCode,
    FieldErrorPointer,
    FoundUsers,
    InvalidParameterProblem,
    SignUpRequest,
    User,
    UserPage,
    ValidationFailedProblem,
)


def main(address: str) -> None:
    client = Client(base_url=address)
    name = uuid.uuid4().hex

    def request(number: int) -> SignUpRequest:
        return SignUpRequest(name="Ada", email=f"{name}-{number}@example.org", password="correct horse battery staple")

    # A key for each signup; the same one for each try of it.
    key = str(uuid.uuid4())
    first = sign_up.sync_detailed(client=client, body=request(0), idempotency_key=key)
    again = sign_up.sync_detailed(client=client, body=request(0), idempotency_key=key)
    assert isinstance(first.parsed, User) and first.parsed == again.parsed, (first, again)
    assert again.headers["idempotent-replayed"] == "true" and "idempotent-replayed" not in first.headers

    # Problems are told apart by their type.
    taken = sign_up.sync(client=client, body=request(0))
    assert isinstance(taken, EmailAlreadyRegisteredProblem), taken
    assert taken.type_ == "/problems/email-already-registered" and taken.status == 409
    wrong = sign_up.sync(client=client, body=SignUpRequest(name="Ada", email="no", password="short"))
    assert isinstance(wrong, ValidationFailedProblem), wrong
    assert [(error.pointer, error.code) for error in wrong.errors] == [
        (FieldErrorPointer("/email"), FieldErrorCode.INVALID_EMAIL),
        (FieldErrorPointer("/password"), FieldErrorCode.TOO_SHORT),
    ]

    # Pages, until there is no next one.
    for number in range(1, 3):
        assert isinstance(sign_up.sync(client=client, body=request(number)), User)
    emails: list[str] = []
    page = list_users.sync(client=client, limit=1)
    while isinstance(page, UserPage):
        emails += [user.email for user in page.users]
        if page.next_cursor is None:
            break
        page = list_users.sync(client=client, limit=1, cursor=page.next_cursor)
    assert {request(number).email for number in range(3)} <= set(emails), emails
    found = list_users.sync(client=client, email=request(0).email)
    assert isinstance(found, FoundUsers) and found.users == [first.parsed], found
    lost = list_users.sync(client=client, cursor="x")
    assert isinstance(lost, InvalidParameterProblem), lost


if __name__ == "__main__":
    main(sys.argv[1])

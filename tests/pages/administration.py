"""Ways through the page for administrators: the login, the list, a user and each action; and what it may not do."""

from __future__ import annotations

import contextlib
import json
import subprocess
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from browse import PASSWORD, PATIENCE, Pages, service
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.support.wait import WebDriverWait

PERMISSIONS = (
    "users:read", "users:write", "users:erase", "sessions:end", "roles:grant", "roles:write", "keys:write",
    "tokens:check",
)  # fmt: skip
# As many as the list has on a page.
OF_A_PAGE = 20


def user(pages: Pages, name: str) -> tuple[str, str]:
    """A new user who can log in: the id and the address."""
    address = pages.verified(f"{name}.{pages.look}.{uuid.uuid4().hex[:6]}")
    return pages.get(f"/users?email={address}")["users"][0]["id"], address


def administrator(pages: Pages, role: str = "admin") -> str:
    """The address of a new user with a role."""
    address = f"{uuid.uuid4().hex}@example.org"
    command = [str(service.BINARY), "users", "create", "--email", address, "--name", "Root", "--role", role]
    subprocess.run(
        [*command, "--password-stdin", "--json"],
        env=pages.running.settings, input=PASSWORD, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return address


def log_in(pages: Pages, address: str) -> None:
    """Logs in on the page."""
    pages.open("admin")
    pages.type("email", address)
    pages.type("password", PASSWORD)
    pages.press("log-in")
    pages.see("h1", "Users")


def find(pages: Pages, address: str) -> None:
    """Opens a user by the address."""
    pages.open("admin")
    pages.see("h1", "Users")
    pages.type("address", address)
    pages.press("find")
    pages.see("#state", address)


def sure(pages: Pages, question: str, word: str = "") -> None:
    """Says yes to a question."""
    pages.see("#confirm-title", question)
    if word:
        pages.type("confirm-word", word)
    pages.press("confirm-form")


def stored(pages: Pages) -> Any:
    """The session of the tab."""
    script = "return Object.entries(sessionStorage).find(([name]) => name.startsWith('session'))?.[1]"
    text = pages.driver.execute_script(script)
    return json.loads(text) if text else None


def edit_session(pages: Pages, change: str) -> None:
    """Changes the session of the tab by an expression on `record`."""
    pages.driver.execute_script(
        "const name = Object.keys(sessionStorage).find((name) => name.startsWith('session'));"
        f"const record = JSON.parse(sessionStorage.getItem(name)); sessionStorage.setItem(name, JSON.stringify({change}))"
    )


@contextlib.contextmanager
def administration(pages: Pages) -> Iterator[None]:
    """The wire leads to the listener for administration."""
    before = pages.wire.address
    host, port = pages.running.administration.rsplit(":", 1)
    lead(pages, (host, int(port)))
    yield
    # Not after a failure, of which the page is a picture.
    lead(pages, before)


def lead(pages: Pages, address: tuple[str, int]) -> None:
    """Makes the wire lead to an address, without the connections that lead elsewhere."""
    pages.driver.get("about:blank")
    with pages.wire.cut():
        pages.wire.address = address
    pages.forget()


def only_administrator(pages: Pages, address: str) -> None:
    """Takes the role from all other administrators of this database."""
    key = pages.running.service_key(*PERMISSIONS)

    def send(method: str, path: str) -> Any:
        request = urllib.request.Request(f"http://{pages.running.administration}{path}", method=method)
        request.add_header("Authorization", f"Bearer {key}")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=PATIENCE) as response:
            return json.loads(response.read() or b"null")

    this = pages.get(f"/users?email={address}")["users"][0]["id"]
    for other in send("GET", "/admin/roles/admin")["users"]:
        if other != this:
            send("DELETE", f"/admin/users/{other}/roles/admin")


def every_action(pages: Pages) -> None:
    """Finds a user, looks, and does each thing once: asked once, done, and said."""
    root = administrator(pages)
    identity, address = user(pages, "ada")
    others = pages.running.log_in(address)
    pages.open("admin")
    pages.see("h1", "Log in")
    pages.check("admin-log-in")
    pages.press("log-in")
    pages.see("#email-error", "Fill this in")
    pages.type("email", root)
    pages.type("password", "wrong horse battery staple")
    pages.press("log-in")
    pages.see("#log-in [role=alert]", "The address or the password is wrong")
    pages.type("password", PASSWORD)
    pages.press("log-in")
    pages.see("#users li", address)
    assert pages.stored("session") is None, "the session is that of the browser"
    pages.check("admin-users")
    pages.type("address", "eve.at.all@example.org")
    pages.press("find")
    pages.see("#address-error", "No user has this address")
    pages.type("address", "eve")
    pages.press("find")
    pages.see("#address-error", "not an e-mail address")
    pages.type("address", address.upper())
    pages.press("find")
    pages.see("#state", address)
    pages.see("#state", identity)
    pages.see("#sessions li", "last used")
    pages.see("#history li", "user.signed_up")
    pages.check("admin-user")

    # Nothing is done before the question has a response, nor if it is no.
    pages.wire.forget()
    pages.press("suspend")
    pages.see("#confirm-title", "Suspend Ada Lovelace?")
    pages.check("admin-question")
    pages.click("#confirm-cancel")
    pages.see("#suspend [role=status]", "Nothing was done")
    pages.press("suspend")
    pages.see("#confirm-title", "Suspend")
    ActionChains(pages.driver).send_keys(Keys.ESCAPE).perform()
    pages.see("#suspend [role=status]", "Nothing was done")
    assert not pages.wire.requests("PATCH", f"/admin/users/{identity}")

    pages.press("suspend")
    sure(pages, "Suspend")
    pages.see("#suspend [role=status]", "The user is suspended")
    pages.see("#state", "suspended: no login")
    pages.see("#history li:first-child", "status: suspended")
    assert pages.status("/auth/login", {"email": address, "password": PASSWORD}) == 403
    assert pages.status("/auth/refresh", {"refresh_token": others["refresh_token"]}) == 401
    pages.press("suspend")
    sure(pages, "Activate")
    pages.see("#suspend [role=status]", "The user is active")

    session = pages.running.log_in(address)
    pages.press("reload")
    pages.press("end-sessions")
    sure(pages, "End all sessions")
    pages.see("#sessions", "None.")
    assert pages.focused() == "sessions-title"
    assert pages.status("/auth/refresh", {"refresh_token": session["refresh_token"]}) == 401

    pages.press("reset")
    sure(pages, "Send Ada Lovelace a mail?")
    pages.see("#reset [role=status]", f"A mail to {address} is on its way")
    assert pages.mailbox.link("reset", address)

    pages.type("role", "No such role")
    pages.press("grant")
    pages.see("#role-error", "No role has this name")
    pages.type("role", "no-such-role")
    pages.press("grant")
    sure(pages, "Grant Ada Lovelace the role no-such-role?")
    pages.see("#grant [role=alert]", "No role has this name")
    pages.type("role", "support")
    pages.press("grant")
    sure(pages, "Grant Ada Lovelace the role support?")
    pages.see("#grant [role=status]", "The user has the role support")
    pages.see("#roles li", "support")
    pages.check("admin-user-done")
    pages.click("#roles button")
    sure(pages, "Take the role support away")
    pages.see("#grant [role=status]", "does not have the role support any more")
    pages.see("#roles", "None but that of every user")
    assert pages.focused() == "roles-title"

    # The last thing asks for the address.
    pages.press("erase")
    pages.see("#confirm-title", "Erase Ada Lovelace?")
    pages.press("confirm-form")
    pages.see("#confirm-word-error", "Fill this in")
    pages.type("confirm-word", "ada")
    pages.press("confirm-form")
    pages.see("#confirm-word-error", f"This is not {address}")
    pages.check("admin-erase")
    pages.type("confirm-word", address.upper())
    pages.press("confirm-form")
    pages.see("#notice", f"{address} is erased")
    pages.see("h1", "Users")
    assert pages.accounts(address) == 0

    pages.press("log-out")
    pages.see("h1", "Log in")
    pages.see("#notice", "You have logged out")
    assert stored(pages) is None


def by_the_page(pages: Pages) -> None:
    """Turns the pages of the list, forward and back, and goes back from a user by the browser."""
    for number in range(OF_A_PAGE + 5):
        pages.running.post("/signup", {"name": "Eve", "email": f"eve{number}@example.org", "password": PASSWORD})
    log_in(pages, administrator(pages))
    pages.count("#users li", OF_A_PAGE)

    def shown() -> list[str]:
        script = "return [...document.querySelectorAll('#users a')].map((link) => link.hash)"
        links: list[str] = pages.driver.execute_script(script)
        return links

    first = shown()
    assert not pages.driver.find_element("css selector", "#previous").is_displayed()
    pages.press("next")
    pages.see("#list-title", "page 2")
    assert pages.focused() == "list-title"
    second = shown()
    assert second and not set(first) & set(second)
    pages.click("#users li:first-child a")
    pages.see("#state")
    pages.driver.back()
    pages.see("#list-title", "page 2")
    assert shown() == second
    pages.press("previous")
    WebDriverWait(pages.driver, PATIENCE).until(lambda _: shown() == first, "not the first page")
    pages.open("admin#01a1fcd0-39d9-7edf-9953-1bfef046d2c7")
    pages.driver.refresh()
    pages.see("#reload [role=alert]", "There is no such user")
    assert not pages.driver.find_element("css selector", "#erase").is_displayed()


def what_it_may_not(pages: Pages) -> None:
    """Says which permission lacks, and that the last administrator stays."""
    identity, address = user(pages, "grace")
    root = administrator(pages)
    log_in(pages, root)
    find(pages, root)
    only_administrator(pages, root)
    pages.press("suspend")
    sure(pages, "Suspend Root?")
    pages.see("#suspend [role=alert]", "This is the last active administrator")
    pages.check("admin-last")
    pages.click("#roles button")
    sure(pages, "Take the role admin away")
    pages.see("#grant [role=alert]", "This is the last active administrator")
    pages.forget()
    log_in(pages, administrator(pages, "support"))
    find(pages, address)
    pages.press("erase")
    sure(pages, "Erase", address)
    pages.see("#erase [role=alert]", "it needs the permission users:erase, which you lack")
    pages.see("#state", identity)
    pages.forget()
    log_in_refused(pages, address)


def log_in_refused(pages: Pages, address: str) -> None:
    """A user without a role logs in, and sees nothing."""
    pages.open("admin")
    pages.type("email", address)
    pages.type("password", PASSWORD)
    pages.press("log-in")
    pages.see("#find [role=alert]", "it needs the permission users:read, which you lack")
    pages.count("#users li", 0)


def its_session(pages: Pages) -> None:
    """A token that has expired or is refused is renewed; a lost response is repeated; a session that ended leads to the
    login; a tab that was duplicated has none."""
    root = administrator(pages)
    identity, address = user(pages, "joan")
    log_in(pages, root)
    find(pages, address)
    edit_session(pages, "{...record, until: 0}")
    pages.press("reload")
    pages.see("#reload [role=status]", "This is the state now")
    edit_session(pages, "{...record, access_token: 'x'}")
    pages.press("reload")
    pages.see("#reload [role=status]", "This is the state now")
    assert len(pages.wire.requests("POST", "/auth/refresh")) == 2
    # The change is made, and its response is lost: it is repeated, and asked for once.
    pages.press("suspend")
    pages.see("#confirm-title", "Suspend")
    with pages.wire.losing_responses():
        pages.press("confirm-form")
        pages.see("#suspend [role=status]", "We do not know yet whether it was done")
        pages.check("admin-lost")
    pages.see("#suspend [role=status]", "The user is suspended")
    assert len(pages.wire.requests("PATCH", f"/admin/users/{identity}")) >= 2
    pages.count("#history li:has(strong)", 3)
    pages.press("erase")
    pages.see("#confirm-title", "Erase")
    pages.type("confirm-word", address)
    with pages.wire.losing_responses():
        pages.press("confirm-form")
        pages.see("#erase [role=status]", "We do not know yet whether it was done")
    pages.see("#notice", f"{address} is erased")
    # What is asked is about the user that is shown.
    find(pages, root)
    pages.press("end-sessions")
    pages.see("#confirm-title", "End all sessions")
    pages.driver.back()
    pages.see("h1", "Users")
    assert not pages.driver.find_element("css selector", "#confirm").is_displayed()
    # A duplicated tab.
    copy = pages.driver.execute_script("return JSON.stringify({...sessionStorage})")
    first = pages.driver.current_window_handle
    pages.driver.switch_to.new_window("tab")
    pages.open("pages/api.js")
    pages.driver.execute_script("Object.assign(sessionStorage, JSON.parse(arguments[0]))", copy)
    pages.open("admin")
    pages.see("h1", "Log in")
    assert stored(pages) is None
    pages.driver.close()
    pages.driver.switch_to.window(first)
    pages.driver.refresh()
    pages.see("h1", "Users")
    assert stored(pages)
    # The session is ended from elsewhere: by this page.
    find(pages, root)
    pages.press("end-sessions")
    sure(pages, "End all sessions of Root?")
    pages.see("#notice", "This session was ended from elsewhere")
    pages.see("h1", "Log in")


def by_the_keyboard(pages: Pages) -> None:
    """Logs in, finds a user and suspends it, without a mouse. The question keeps the focus, and gives it back."""
    root = administrator(pages)
    _, address = user(pages, "keys")

    def press(*keys: str) -> None:
        ActionChains(pages.driver).send_keys(*keys).perform()

    def tab_to(selector: str) -> None:
        for _ in range(60):
            press(Keys.TAB)
            if pages.driver.execute_script("return document.activeElement.matches(arguments[0])", selector):
                outline = pages.driver.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
                assert outline != "none", f"the focus does not show at {selector}"
                return
        raise AssertionError(f"the keyboard does not reach {selector}")

    pages.open("admin")
    pages.see("h1", "Log in")
    tab_to("#email")
    press(root)
    tab_to("#password")
    press(PASSWORD, Keys.ENTER)
    pages.see("h1", "Users")
    tab_to("#address")
    press(address, Keys.ENTER)
    pages.see("#state", address)
    tab_to("#suspend button")
    press(Keys.ENTER)
    pages.see("#confirm-title", "Suspend")
    assert pages.focused() == "confirm-cancel"
    for _ in range(6):
        press(Keys.TAB)
        inside = "return document.activeElement === document.body || !!document.activeElement.closest('#confirm')"
        assert pages.driver.execute_script(inside), "the focus leaves the question"
    tab_to("#confirm-form button[type=submit]")
    press(Keys.ENTER)
    pages.see("#suspend [role=status]", "The user is suspended")
    assert pages.driver.execute_script("return document.activeElement.closest('form').id") == "suspend"


def on_the_listener(part: Callable[[Pages], None]) -> Callable[[Pages], None]:
    """The same part, with the browser on the listener for administration."""

    def run(pages: Pages) -> None:
        with administration(pages):
            part(pages)

    run.__name__ = f"administration_{part.__name__}"
    return run


# On each screen, and once for each database.
ADMINISTRATION_WAYS = [on_the_listener(every_action)]
ADMINISTRATION = [on_the_listener(part) for part in (by_the_page, what_it_may_not, its_session, by_the_keyboard)]

"""Uses the pages for people in a real browser, on both databases: from the signup by the mail to the account, at the sizes
of a desktop and of a phone (320 px), in light and dark. Each page, in each state, is checked with axe and must not scroll
sideways; nothing is loaded from elsewhere, and the console stays clean. Then the network is cut: a double click, a reload
and a lost response make one account, and tabs do not destroy each other's session.

    make check-pages
    make pages-screenshots      the same, and updates docs/images/pages-*.png
"""

from __future__ import annotations

import contextlib
import email
import email.policy
import json
import shutil
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "openapi"))

import docs_page
import service
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait
from wire import Wire

PATIENCE = 20
PASSWORD = service.PASSWORD
NEW_PASSWORD = "another horse battery staple"
IMAGES = service.ROOT / "docs" / "images"
SCREENSHOTS = service.TARGET / "pages"

DESKTOP = {"width": 1200, "height": 900, "deviceScaleFactor": 1, "mobile": False}
PHONE = {"width": 320, "height": 640, "deviceScaleFactor": 2, "mobile": True}


@dataclass(frozen=True)
class Look:
    """A screen and a colour scheme."""

    size: str
    scheme: str

    def __str__(self) -> str:
        return f"{self.size}-{self.scheme}"


LOOKS = [Look(size, scheme) for size in ("desktop", "phone") for scheme in ("light", "dark")]


class Mailbox:
    """The mails that the service has written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def link(self, kind: str, address: str, count: int = 1) -> str:
        """Waits for this many mails of a kind to an address, and returns the link of the newest."""
        begun = time.monotonic()
        while len(mails := self._mails(kind, address)) < count:
            assert time.monotonic() - begun < PATIENCE, f"no mail {kind} to {address}"
            time.sleep(0.05)
        body = mails[-1].get_body(("plain",))
        assert body is not None
        return next(word for word in body.get_content().split() if "#" in word)

    def _mails(self, kind: str, address: str) -> list[email.message.EmailMessage]:
        found = []
        for path in sorted(self.folder.glob(f"*Z-{kind}-*.eml")):
            mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            assert isinstance(mail, email.message.EmailMessage)
            if mail["To"] == address:
                found.append(mail)
        return found


class Pages(docs_page.Page):
    """The pages in a browser, with what is wrong with them so far."""

    def __init__(self, driver: Any, running: service.OwnService, wire: Wire, mailbox: Mailbox, backend: str) -> None:
        super().__init__(driver, f"http://127.0.0.1:{wire.port}")
        self.running = running
        self.wire = wire
        self.mailbox = mailbox
        self.backend = backend
        self.look = LOOKS[0]
        self.wrong: list[str] = []
        self._key = running.service_key("users:read")
        driver.get(f"{self.origin}/sign-up")

    # What a user does.

    def open(self, path: str) -> None:
        self.driver.get(f"{self.origin}/{path}")

    def type(self, field: str, text: str) -> None:
        element = self.the(f"#{field}")
        element.clear()
        element.send_keys(text)

    def press(self, form: str) -> None:
        self.click(f"#{form} button[type=submit]")

    def see(self, selector: str, text: str = "") -> WebElement:
        return self.the(selector, text)

    def at(self, path: str) -> None:
        """Waits until the browser is at this page."""
        WebDriverWait(self.driver, PATIENCE).until(
            lambda driver: driver.current_url == f"{self.origin}/{path}", f"not at {path}"
        )

    def focused(self) -> str:
        """The id of the element with the focus."""
        found: str = self.driver.execute_script("return document.activeElement.id")
        return found

    # What a test needs.

    def appear(self, look: Look) -> None:
        """Begins with another screen, as a browser that was never here."""
        self.look = look
        size = PHONE if look.size == "phone" else DESKTOP
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": look.scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.forget()

    def forget(self) -> None:
        """Empties the storage."""
        self.open("pages/api.js")
        self.driver.execute_script("localStorage.clear(); sessionStorage.clear()")

    def check(self, state: str) -> None:
        """Checks the page as it is now, and keeps a picture of it."""
        name = f"{state}, {self.look}, {self.backend}"
        self.wrong += docs_page.accessibility_violations(self, name)
        inner, scroll = self.driver.execute_script("return [innerWidth, document.documentElement.scrollWidth]")
        if scroll > inner:
            self.wrong.append(f"{name} scrolls sideways: {scroll} > {inner}")
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        assert self.driver.save_screenshot(str(SCREENSHOTS / f"{state}-{self.look}.png"))

    def stored(self, name: str) -> Any:
        """What `localStorage` has under the name that begins like this."""
        script = "return localStorage.getItem(Object.keys(localStorage).find((name) => name.startsWith(arguments[0])))"
        text = self.driver.execute_script(script, name)
        return json.loads(text) if text else None

    def expire(self) -> None:
        """Makes the access token one that has to be renewed."""
        self.driver.execute_script(
            "const name = Object.keys(localStorage).find((name) => name.startsWith('session'));"
            "localStorage.setItem(name, JSON.stringify({...JSON.parse(localStorage.getItem(name)), until: 0}))"
        )

    def get(self, path: str, credential: str = "") -> Any:
        """What the service responds, without the browser."""
        request = urllib.request.Request(f"http://{self.running.address}{path}")
        request.add_header("Authorization", f"Bearer {credential or self._key}")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=PATIENCE) as response:
            return json.load(response)

    def status(self, path: str, body: dict[str, Any]) -> int:
        """The status of a request that may fail, without the browser."""
        try:
            self.running.post(path, body)
        except urllib.error.HTTPError as error:
            return error.code
        return 200

    def accounts(self, address: str) -> int:
        """How many accounts an address has."""
        return len(self.get(f"/users?email={urllib.parse.quote(address)}")["users"])

    def total(self) -> int:
        """How many accounts there are."""
        return len(self.get("/users?limit=100")["users"])

    def unexpected(self) -> list[str]:
        """Errors in the console, and requests to others. What was refused or cut on purpose is no error of a page."""
        ignored = ("Failed to load resource",)
        wrong = [
            f"console: {entry['message']}"
            for entry in self.driver.get_log("browser")
            if entry["level"] == "SEVERE" and not any(text in entry["message"] for text in ignored)
        ]
        for entry in self.driver.get_log("performance"):
            event: dict[str, Any] = json.loads(entry["message"])["message"]
            if event["method"] == "Runtime.exceptionThrown":
                wrong.append(f"{event['method']}: {event['params']}")
            if event["method"] == "Network.requestWillBeSent":
                url = event["params"]["request"]["url"]
                if not url.startswith((self.origin + "/", "blob:" + self.origin)):
                    wrong.append(f"request to another host: {url}")
                if "?" in url:
                    wrong.append(f"a value in an address: {url}")
        return wrong

    # What several tests begin with.

    def fill_in_signup(self, address: str, password: str = PASSWORD) -> None:
        self.open("sign-up")
        self.type("name", "Ada Lovelace")
        self.type("email", address)
        self.type("password", password)

    def verified(self, name: str) -> str:
        """The address of a new account that can log in, made without the browser."""
        address = f"{name}@example.org"
        self.running.post("/signup", {"name": "Ada Lovelace", "email": address, "password": PASSWORD})
        token = self.mailbox.link("verify", address).split("#")[1]
        self.running.post("/auth/verify-email", {"token": token, "password": PASSWORD})
        return address

    def log_in(self, address: str, password: str = PASSWORD) -> None:
        self.open("log-in")
        self.type("email", address)
        self.type("password", password)
        self.press("log-in")
        self.at("account")
        self.see("#sessions .badge", "this device")


def the_whole_way(pages: Pages) -> None:
    """From the front page by the mail to the account, and out again."""
    look = pages.look
    address = f"ada.{look}@example.org"
    pages.open("")
    pages.check("front")
    pages.click("main a[href='sign-up']")
    pages.see("h1", "Sign up")
    pages.check("sign-up")
    pages.type("name", "Ada Lovelace")
    pages.type("email", address)
    pages.type("password", PASSWORD)
    pages.click("[data-shows=password]")
    assert pages.see("#password").get_attribute("type") == "text"
    pages.press("sign-up")
    pages.see("h1", "Look into your mailbox")
    pages.see("#address", address)
    pages.check("mail")
    pages.driver.get(pages.mailbox.link("verify", address))
    pages.see("h1", "Confirm your address")
    assert pages.driver.current_url == f"{pages.origin}/verify-email", "the token stays in the address bar"
    assert pages.see("#email").get_attribute("value") == address
    # A reload does not lose the token.
    pages.driver.refresh()
    pages.type("password", "wrong horse battery staple")
    pages.press("verify")
    pages.see("#password-error", "not the password of the account")
    assert pages.focused() == "password"
    pages.check("verify-email")
    pages.type("password", PASSWORD)
    pages.press("verify")
    pages.at("account")
    pages.see("#notice", "Your address is confirmed")
    pages.see("#who", "Ada Lovelace")
    pages.see("#sessions .badge", "this device")
    pages.check("account")
    pages.driver.execute_script("document.getElementById('step-up').showModal()")
    pages.see("#step-up-password")
    pages.check("step-up")
    pages.click("#step-up-cancel")
    pages.press("log-out")
    pages.at("log-in")
    pages.see("#notice", "You have logged out")
    pages.check("log-in")
    # The page of the account is for users.
    pages.open("account")
    pages.at("log-in")


def a_new_password(pages: Pages) -> None:
    """The way of a user who has forgotten the password."""
    address = pages.verified(f"reset.{pages.look}")
    pages.open("log-in")
    pages.click("main a[href='forgot-password']")
    pages.see("h1", "Forgot your password?")
    pages.check("forgot-password")
    pages.type("email", address)
    pages.press("forgot")
    pages.see("h1", "Look into your mailbox")
    pages.check("forgot-mail")
    link = pages.mailbox.link("reset", address)
    pages.driver.get(link)
    pages.see("h1", "Choose a new password")
    pages.type("password", "short")
    pages.press("reset")
    pages.see("#password-error", "at least 8")
    assert pages.focused() == "password"
    assert pages.see("#password").get_attribute("aria-invalid") == "true"
    pages.check("reset-password")
    pages.type("password", NEW_PASSWORD)
    pages.press("reset")
    pages.at("log-in")
    pages.see("#notice", "Your new password counts now")
    pages.type("email", address)
    pages.type("password", NEW_PASSWORD)
    pages.press("log-in")
    pages.at("account")
    # The link works once, and says so.
    pages.driver.get(link)
    pages.see("h1", "Choose a new password")
    pages.type("password", PASSWORD)
    pages.press("reset")
    pages.see("#notice", "was used already")
    pages.check("reset-used")


def pages_without_a_link(pages: Pages) -> None:
    """The pages of mails, opened without the token; and with one that is none."""
    for path in ("verify-email", "reset-password", "confirm-email", "undo-email"):
        pages.open(path)
        pages.see("h1", "Open the link of the mail")
        pages.check(f"{path}-without")
        pages.open(f"{path}#{'A' * 64}")
        pages.see("form button[type=submit]")
        pages.check(path)
        pages.driver.execute_script("sessionStorage.clear()")


def errors_beside_their_fields(pages: Pages) -> None:
    """What is wrong stands beside its field, which describes itself by it, and gets the focus."""
    pages.open("sign-up")
    pages.press("sign-up")
    pages.see("#name-error", "Fill this in")
    assert pages.focused() == "name"
    assert not pages.wire.requests("POST", "/signup"), "an empty form is not sent"
    pages.fill_in_signup("ada at example.org", "password")
    pages.press("sign-up")
    pages.see("#email-error", "not an e-mail address")
    pages.see("#password-error", "Many people use this password")
    assert pages.focused() == "email"
    for field in ("email", "password"):
        element = pages.see(f"#{field}")
        assert element.get_attribute("aria-invalid") == "true"
        assert f"{field}-error" in (element.get_attribute("aria-describedby") or "")
    pages.check("sign-up-errors")
    # A taken address.
    address = pages.verified(f"taken.{pages.look}")
    pages.fill_in_signup(address.upper())
    pages.press("sign-up")
    pages.see("#email-error", "has an account already")
    # A wrong password, and too many of them.
    pages.open("log-in")
    pages.type("email", address)
    pages.type("password", "wrong horse battery staple")
    pages.press("log-in")
    pages.see("#log-in [role=alert]", "The address or the password is wrong")
    while pages.status("/auth/login", {"email": address, "password": "wrong"}) != 429:
        pass
    pages.press("log-in")
    pages.see("#log-in [role=alert]", "too many failed attempts")
    pages.see("#log-in [role=status]", "You can try again in")
    pages.check("log-in-wait")


def only_the_keyboard(pages: Pages) -> None:
    """Signs up, confirms and logs out, without a mouse."""
    address = f"keys.{pages.look}@example.org"

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

    pages.open("sign-up")
    tab_to(".skip")
    press(Keys.ENTER)
    assert pages.focused() == "main"
    for field, text in (("#name", "Ada Lovelace"), ("#email", address), ("#password", PASSWORD)):
        tab_to(field)
        press(text)
    tab_to("[data-shows=password]")
    press(Keys.SPACE)
    assert pages.see("#password").get_attribute("type") == "text"
    tab_to("#sign-up button[type=submit]")
    press(Keys.SPACE)
    pages.see("h1", "Look into your mailbox")
    assert pages.driver.execute_script("return document.activeElement.textContent") == "Look into your mailbox"
    pages.driver.get(pages.mailbox.link("verify", address))
    tab_to("#password")
    press(PASSWORD, Keys.ENTER)
    pages.at("account")
    pages.see("#sessions .badge", "this device")
    tab_to("#log-out button")
    press(Keys.ENTER)
    pages.at("log-in")


def one_account(pages: Pages) -> None:
    """A double click, a lost response, no network and a reload: one account, and the page knows of it."""
    before = pages.total()

    def made(address: str, count: int) -> None:
        assert pages.accounts(address) == 1, address
        assert pages.total() == before + count

    # Two clicks before anything else happens.
    pages.fill_in_signup("double@example.org")
    pages.wire.forget()
    button = pages.see("#sign-up button[type=submit]")
    pages.driver.execute_script("arguments[0].click(); arguments[0].click()", button)
    pages.see("h1", "Look into your mailbox")
    assert len(pages.wire.requests("POST", "/signup")) == 1
    made("double@example.org", 1)

    # The account is made, and the response is lost. The page tries again by itself, with the same key.
    pages.forget()
    pages.fill_in_signup("lost@example.org")
    pages.wire.forget()
    with pages.wire.losing_responses():
        pages.press("sign-up")
        pages.wire.wait_until_lost(1)
        pages.see("#sign-up [role=status]", "We do not know yet whether it was done")
        pages.check("sign-up-lost")
        made("lost@example.org", 2)
    pages.see("h1", "Look into your mailbox")
    sent = pages.wire.requests("POST", "/signup")
    assert len(sent) >= 2 and len({request.key for request in sent}) == 1 and sent[0].key, sent
    made("lost@example.org", 2)

    # The account is made, the response is lost, and the user reloads: the page says so, and has kept all but the password.
    pages.forget()
    pages.fill_in_signup("reload@example.org")
    pages.wire.forget()
    with pages.wire.losing_responses():
        pages.press("sign-up")
        pages.wire.wait_until_lost(1)
        pages.see("#sign-up [role=status]", "We do not know yet")
    pages.driver.refresh()
    pages.see("#notice", "We do not know yet whether your account was made")
    assert pages.see("#email").get_attribute("value") == "reload@example.org"
    assert pages.see("#password").get_attribute("value") == ""
    pages.check("sign-up-reloaded")
    pages.type("password", PASSWORD)
    pages.press("sign-up")
    pages.see("h1", "Look into your mailbox")
    assert len({request.key for request in pages.wire.requests("POST", "/signup")}) == 1
    made("reload@example.org", 3)

    # The same, but the user has another password in mind: no second account, and the page says what counts.
    pages.forget()
    pages.fill_in_signup("other@example.org")
    with pages.wire.losing_responses():
        pages.press("sign-up")
        pages.see("#sign-up [role=status]", "We do not know yet")
    pages.driver.refresh()
    pages.see("#notice", "We do not know yet")
    pages.type("email", "another@example.org")
    pages.type("password", NEW_PASSWORD)
    pages.press("sign-up")
    pages.see("#sign-up [role=alert]", "other@example.org")
    made("other@example.org", 4)
    assert pages.accounts("another@example.org") == 0

    # Nothing reaches the service. The button tries at once when the network is back.
    pages.forget()
    pages.fill_in_signup("cut@example.org")
    with pages.wire.cut():
        pages.press("sign-up")
        pages.see("#sign-up [role=status]", "There is no connection to the service")
        assert pages.accounts("cut@example.org") == 0
    pages.press("sign-up")
    pages.see("h1", "Look into your mailbox")
    made("cut@example.org", 5)


def sessions(pages: Pages) -> None:
    """The list knows this device, and ends others."""
    address = pages.verified("sessions")
    others = [pages.running.log_in(address) for _ in range(3)]
    pages.log_in(address)
    WebDriverWait(pages.driver, PATIENCE).until(lambda driver: len(driver.find_elements(By.CSS_SELECTOR, "#sessions li")) == 4)
    assert len(pages.driver.find_elements(By.CSS_SELECTOR, "#sessions .badge")) == 1
    pages.see("#sessions li:has(.badge)", "Chrome on Linux")
    pages.check("sessions")
    pages.click("#sessions li:nth-child(2) button")
    pages.see("#end-others [role=status]", "The session has ended")
    assert len(pages.driver.find_elements(By.CSS_SELECTOR, "#sessions li")) == 3
    assert pages.focused() == "sessions-title"
    alive = [pages.status("/auth/refresh", {"refresh_token": other["refresh_token"]}) for other in others]
    assert sorted(alive) == [200, 200, 401], alive
    pages.press("end-others")
    WebDriverWait(pages.driver, PATIENCE).until(lambda driver: len(driver.find_elements(By.CSS_SELECTOR, "#sessions li")) == 1)
    # Another device ends this one: the page leaves, and says why.
    other = pages.running.log_in(address)
    mine = next(
        session["id"]
        for session in pages.get("/users/me/sessions", other["access_token"])["sessions"]
        if not session["current"]
    )
    request = urllib.request.Request(f"http://{pages.running.address}/users/me/sessions/{mine}", method="DELETE")
    request.add_header("Authorization", f"Bearer {other['access_token']}")
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=PATIENCE).close()
    pages.driver.refresh()
    pages.at("log-in")
    pages.see("#notice", "This session was ended from elsewhere")


def tabs(pages: Pages) -> None:
    """Tabs share a session: they take turns at a refresh, repeat a lost one with its key, and leave together."""
    address = pages.verified("tabs")
    pages.log_in(address)
    first = pages.driver.current_window_handle
    pages.driver.switch_to.new_window("tab")
    second = pages.driver.current_window_handle
    pages.open("account")
    pages.see("#sessions .badge")
    # Both at once: the second uses what the first one got, or repeats its refresh, if its storage is a moment behind.
    pages.expire()
    pages.wire.forget()
    for handle in (first, second):
        pages.driver.switch_to.window(handle)
        pages.driver.execute_script("setTimeout(() => location.reload(), 100)")
    for handle in (first, second):
        pages.driver.switch_to.window(handle)
        WebDriverWait(pages.driver, PATIENCE).until(lambda driver: driver.execute_script("return performance.getEntriesByType('navigation')[0].type") == "reload")
        pages.see("#sessions .badge")
    sent = pages.wire.requests("POST", "/auth/refresh")
    assert 1 <= len(sent) <= 2 and len({request.key for request in sent}) == 1, sent
    # The response to a refresh is lost, and the tab is reloaded: the refresh is repeated with its key.
    pages.expire()
    pages.wire.forget()
    before = pages.stored("session")["refresh_token"]
    with pages.wire.losing_responses():
        # The page is there already, so that the refresh before the change is what is lost.
        pages.press("profile")
        pages.wire.wait_until_lost(1)
        kept = pages.stored("session")
        assert kept["refresh_token"] == before and kept["key"]
    pages.driver.refresh()
    pages.see("#sessions .badge")
    sent = pages.wire.requests("POST", "/auth/refresh")
    assert len(sent) >= 2 and {request.key for request in sent} == {kept["key"]}, sent
    after = pages.stored("session")
    assert after["refresh_token"] != before and "key" not in after
    # A service that is gone logs no one out.
    pages.expire()
    with pages.wire.cut():
        pages.press("profile")
        pages.see("#profile [role=status]", "There is no connection to the service")
        assert pages.stored("session")
    # One tab logs out: the other one leaves.
    pages.press("log-out")
    pages.at("log-in")
    pages.driver.close()
    pages.driver.switch_to.window(first)
    pages.at("log-in")


# On each screen, and once for each database.
WAYS: list[Callable[[Pages], None]] = [the_whole_way, a_new_password, pages_without_a_link, errors_beside_their_fields]
ONCE: list[Callable[[Pages], None]] = [only_the_keyboard, one_account, sessions, tabs]

# Pictures in the documentation, and the states that they show.
PICTURES = {
    "pages-sign-up.png": "sign-up-errors-desktop-light.png",
    "pages-lost.png": "sign-up-lost-phone-dark.png",
    "pages-account.png": "account-desktop-light.png",
    "pages-phone.png": "account-phone-dark.png",
}


@contextlib.contextmanager
def running_pages(backend: str) -> Iterator[Pages]:
    """The pages of a service on this database, in a browser."""
    wire = Wire()
    with (
        tempfile.TemporaryDirectory() as mails,
        tempfile.TemporaryDirectory() as profile,
        service.service(
            backend,
            PUBLIC_URL=f"http://127.0.0.1:{wire.port}",
            MAIL_URL=f"file:{mails}",
            EMAIL_VERIFICATION="required",
            RATE_LIMIT_MAIL="off",
        ) as running,
    ):
        host, port = running.address.rsplit(":", 1)
        wire.address = (host, int(port))
        driver = docs_page.browser(profile)
        try:
            yield Pages(driver, running, wire, Mailbox(Path(mails)), backend)
        finally:
            driver.quit()
            wire.close()


def run(pages: Pages, part: Callable[[Pages], None]) -> None:
    """Runs a part; what fails names it, and leaves a picture."""
    name = f"{part.__name__}, {pages.look}, {pages.backend}"
    pages.forget()
    pages.wire.forget()
    begun = time.monotonic()
    try:
        part(pages)
        print(f"{name}: {time.monotonic() - begun:.1f} s", flush=True)
    except Exception as error:
        picture = SCREENSHOTS / "failed.png"
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        pages.driver.save_screenshot(str(picture))
        traceback.print_exc()
        raise SystemExit(f"check-pages: FAILED: {name}; see {picture}") from error
    pages.wrong += [f"{name}: {text}" for text in pages.unexpected()]


def main() -> None:
    passed = 0
    for backend in ("sqlite", "postgres"):
        with running_pages(backend) as pages:
            pages.unexpected()
            for look in LOOKS:
                pages.appear(look)
                for part in WAYS:
                    run(pages, part)
                    passed += 1
            for part in ONCE:
                pages.appear(LOOKS[3] if part is one_account else LOOKS[0])
                run(pages, part)
                passed += 1
            if pages.wrong:
                raise SystemExit("check-pages: FAILED\n" + "\n".join(pages.wrong))
    if "--screenshots" in sys.argv:
        for name, state in PICTURES.items():
            shutil.copyfile(SCREENSHOTS / state, IMAGES / name)
            print(f"check-pages: wrote {(IMAGES / name).relative_to(service.ROOT)}")
    print(f"check-pages: {passed} passed, 0 failed")


if __name__ == "__main__":
    main()

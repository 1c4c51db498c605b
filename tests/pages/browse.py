"""The pages for people in a browser: what a user does on them, what a test asks of them, and what is wrong with them."""

from __future__ import annotations

import contextlib
import email
import email.policy
import json
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "openapi"))

import docs_page
import service
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait
from wire import Wire

PATIENCE = 20
PASSWORD = service.PASSWORD
NEW_PASSWORD = "another horse battery staple"
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
        return next(word for word in self.text(kind, address, count).split() if "#" in word)

    def text(self, kind: str, address: str, count: int = 1) -> str:
        """The same, for the text of the newest."""
        begun = time.monotonic()
        while len(mails := self._mails(kind, address)) < count:
            assert time.monotonic() - begun < PATIENCE, f"no mail {kind} to {address}"
            time.sleep(0.05)
        body = mails[-1].get_body(("plain",))
        assert body is not None
        content: str = body.get_content()
        return content

    def count(self, kind: str, address: str) -> int:
        """How many mails of a kind an address has got so far."""
        return len(self._mails(kind, address))

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
        super().__init__(driver, f"http://127.0.0.1:{wire.port}{wire.prefix}")
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

    def count(self, selector: str, count: int) -> None:
        """Waits until there are this many elements."""
        script = "return document.querySelectorAll(arguments[0]).length"
        WebDriverWait(self.driver, PATIENCE).until(
            lambda driver: driver.execute_script(script, selector) == count, f"not {count} of {selector}"
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
                host = self.origin.removesuffix(self.wire.prefix)
                # `forget` opens a script, which names no icon.
                own = (f"{self.origin}/", f"blob:{host}/", f"{host}/favicon.ico")
                if not url.startswith(own):
                    wrong.append(f"request to another host: {url}")
                # On the listener for administration the list of users is asked for by a cursor or an address.
                if "?" in url and "/admin/users?" not in url:
                    wrong.append(f"a value in an address: {url}")
        return wrong

    def must_be_right(self) -> None:
        """Ends the test if something was wrong."""
        if self.wrong:
            raise SystemExit("check-pages: FAILED\n" + "\n".join(self.wrong))

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


@contextlib.contextmanager
def running_pages(backend: str, prefix: str = "", **settings: str) -> Iterator[Pages]:
    """The pages of a service on this database, in a browser; behind a proxy with a prefix, if one is given."""
    wire = Wire(prefix)
    with (
        tempfile.TemporaryDirectory() as mails,
        tempfile.TemporaryDirectory() as profile,
        service.service(
            backend,
            PUBLIC_URL=f"http://127.0.0.1:{wire.port}{prefix}",
            MAIL_URL=f"file:{mails}",
            EMAIL_VERIFICATION="required",
            RATE_LIMIT_MAIL="off",
            **settings,
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

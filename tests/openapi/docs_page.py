"""Opens /docs in a real browser and signs up twice through "Try it out", with one key, also behind a proxy that serves
the service under a path; gives "Authorize" an access token and reads the own account; opens the problem pages on a screen as narrow as a phone's; checks every page with axe, in
light and dark mode. Pages must not load anything from other hosts or log errors. Then pages of allowed and refused
origins sign up.

    make check-docs-page
    make docs-screenshot      the same, and updates docs/images/docs.png
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

import service

COMMITTED = service.ROOT / "docs" / "images" / "docs.png"
SCREENSHOT = service.TARGET / "docs-page" / "docs.png"
# Not a loopback address, as Swagger UI does not call its external validator for those.
HOST = "docs.test"
# Hosts of pages of other origins: an allowed and a refused one.
ALLOWED, REFUSED = "allowed.test", "refused.test"
# The path under which a proxy serves the service.
PREFIX = "/accounts"
ADDRESS = "ada.lovelace@example.org"
PATIENCE = 60
AXE = service.TARGET / "openapi-node" / "node_modules" / "axe-core" / "axe.min.js"


def found(*names: str) -> str:
    """The path of the first program found among these names."""
    for name in names:
        if path := shutil.which(name):
            return path
    raise SystemExit(
        f"docs-page: {names[0]} is missing; on Debian and Ubuntu scripts/install.sh chromium chromedriver installs it"
    )


def browser(profile: str) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = found("chromium", "chromium-browser", "google-chrome")
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-proxy-server",
        "--force-color-profile=srgb",
        "--window-size=1200,1450",
        f"--user-data-dir={profile}",
        f"--host-resolver-rules=MAP {HOST} 127.0.0.1, MAP {ALLOWED} 127.0.0.1, MAP {REFUSED} 127.0.0.1, "
        "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(found("chromedriver")))
    driver.set_script_timeout(PATIENCE)
    return driver


class Page:
    """A page, with its requests and errors."""

    def __init__(self, driver: webdriver.Chrome, origin: str) -> None:
        self.driver = driver
        self.origin = origin
        # Requests of the browser's start page do not count.
        driver.get("about:blank")
        driver.get_log("performance")

    def the(self, selector: str, text: str = "") -> WebElement:
        """Waits for a visible element with this text."""

        def look(driver: webdriver.Chrome) -> WebElement | None:
            elements = driver.find_elements(By.CSS_SELECTOR, selector)
            return next((e for e in elements if e.is_displayed() and text in e.text), None)

        # A page may be left while it is looked at.
        wait = WebDriverWait(self.driver, PATIENCE, ignored_exceptions=[StaleElementReferenceException])
        element = wait.until(look, f"no {selector} with {text!r}")
        assert element
        return element

    def click(self, selector: str) -> None:
        element = self.the(selector)
        # A sticky header may cover an element that a click scrolls to.
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def errors(self) -> list[str]:
        """Unexpected requests and errors since the last call."""
        wrong = [
            f"console: {entry['message']}" for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"
        ]
        requested = []
        for entry in self.driver.get_log("performance"):
            event: dict[str, Any] = json.loads(entry["message"])["message"]
            if event["method"] == "Network.requestWillBeSent":
                requested.append(event["params"]["request"]["url"])
            if event["method"] in ("Runtime.exceptionThrown", "Network.loadingFailed"):
                wrong.append(f"{event['method']}: {event['params']}")
        own = (self.origin + "/", "data:")
        # The path of a prefix may be without its slash.
        requests = [url for url in requested if url != self.origin]
        wrong += [f"request to another host: {url}" for url in requests if not url.startswith(own)]
        if not requested:
            wrong.append("no request was seen at all")
        return wrong


def sign_up(page: Page, email: str = ADDRESS) -> None:
    """Signs up through "Try it out"."""
    operation = "#operations-signup-sign_up"
    page.driver.get(f"{page.origin}/docs")
    page.click(f"{operation} .opblock-summary-control")
    page.click(f"{operation} .try-out__btn")
    body = {"name": "Ada Lovelace", "email": email, "password": "correct horse battery staple"}
    field = page.the(f"{operation} textarea.body-param__text")
    field.clear()
    field.send_keys(json.dumps(body, indent=2))
    page.click(f"{operation} .execute")
    page.the(f"{operation} .live-responses-table .response-col_status", "201")
    page.the(f"{operation} .live-responses-table", email)


def sign_up_again(page: Page) -> None:
    """Presses "Execute" again: the key is the same, and the response is a replay."""
    operation = "#operations-signup-sign_up"
    page.click(f"{operation} .execute")
    page.the(f"{operation} .live-responses-table", "idempotent-replayed: true")


def read_own_account(page: Page, token: str) -> None:
    """Reads the own account through "Try it out": without a credential it is refused, after "Authorize" it is shown."""
    operation = "#operations-users-me"
    page.click(f"{operation} .opblock-summary-control")
    page.click(f"{operation} .try-out__btn")
    page.click(f"{operation} .execute")
    page.the(f"{operation} .live-responses-table .response-col_status", "401")
    page.click(".scheme-container .authorize")
    field = page.the(".auth-container input[type='text'], .auth-container input[type='password']")
    field.send_keys(token)
    page.click(".auth-container .authorize")
    page.click(".auth-btn-wrapper .btn-done")
    page.click(f"{operation} .execute")
    page.the(f"{operation} .live-responses-table .response-col_status", "200")
    page.the(f"{operation} .live-responses-table", ADDRESS)
    # The browser logs the refused request.
    page.driver.get_log("browser")


def accessibility_violations(page: Page, state: str, part: str = "html") -> list[str]:
    """The accessibility violations that axe finds in a part of the page."""
    page.driver.execute_script(AXE.read_text())
    violations = page.driver.execute_async_script(
        "const [part, done] = arguments; axe.run(part).then((result) => done(result.violations))", part
    )
    return [
        f"axe, {state}: {violation['id']} at {node['target']}"
        for violation in violations
        for node in violation["nodes"]
    ]


def check_accessibility(page: Page) -> list[str]:
    """Checks every page in both colour schemes; /docs with its operations collapsed and expanded."""
    wrong: list[str] = []
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        # The browser gets a page by content negotiation, as it requests HTML.
        for path in ("", "docs/licence", "problems", "problems/validation-failed"):
            page.driver.get(f"{page.origin}/{path}")
            page.the("main h1")
            wrong += accessibility_violations(page, f"/{path}, {scheme}")
            name = path.replace("/", "-") or "root"
            page.driver.save_screenshot(str(SCREENSHOT.with_name(f"{name}-{scheme}.png")))
        page.driver.get(f"{page.origin}/docs")
        page.the("#operations-signup-sign_up .opblock-summary-control")
        wrong += accessibility_violations(page, f"/docs, {scheme}")
        page.driver.save_screenshot(str(SCREENSHOT.with_name(f"docs-{scheme}.png")))
        # One operation at a time: all of them expanded are too much for axe.
        for block in page.driver.find_elements(By.CSS_SELECTOR, ".opblock"):
            operation = f"#{block.get_attribute('id')}"
            page.click(f"{operation} .opblock-summary-control")
            page.the(f"{operation} .responses-table")
            wrong += accessibility_violations(page, f"/docs with {operation} expanded, {scheme}", operation)
            page.click(f"{operation} .opblock-summary-control")
    return wrong


def screenshot(page: Page) -> None:
    """Takes a screenshot of the request and the response."""
    sent = page.the("#operations-signup-sign_up .opblock-section-request-body")
    page.driver.execute_script("arguments[0].scrollIntoView()", sent)
    SCREENSHOT.parent.mkdir(parents=True, exist_ok=True)
    assert page.driver.save_screenshot(str(SCREENSHOT))


def read_about_problems(page: Page) -> list[str]:
    """Opens the list and a page on a narrow screen; returns what does not fit."""
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True},
    )
    page.driver.get(f"{page.origin}/problems")
    wrong = too_wide(page)
    page.click("a[href='problems/validation-failed']")
    page.the("h2", "What to do")
    assert page.driver.save_screenshot(str(SCREENSHOT.with_name("problem.png")))
    wrong += too_wide(page)
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    return wrong


def too_wide(page: Page) -> list[str]:
    """Whether a page requires horizontal scrolling or zooming."""
    widths = page.driver.execute_script(
        "const page = document.documentElement; return [page.scrollWidth, page.clientWidth, innerWidth]"
    )
    return [] if widths == [360, 360, 360] else [f"{page.driver.current_url} does not fit a narrow screen: {widths}"]


class Blank(http.server.BaseHTTPRequestHandler):
    """Serves a blank page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>blank</title>")

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def blank_pages() -> Iterator[int]:
    """The port of a server that is not the service."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Blank) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


SIGN_UP = """
const [url, body, done] = arguments;
const key = crypto.getRandomValues(new Uint32Array(4)).join("-");
const headers = {"content-type": "application/json", "idempotency-key": `"${key}"`};
fetch(url, {method: "POST", headers, body: JSON.stringify(body)})
  .then(async (response) => done({
    status: response.status, location: response.headers.get("location"), email: (await response.json()).email,
  }), (error) => done(error.name));
"""


def sign_up_from_elsewhere(page: Page, port: int) -> list[str]:
    """Signs up by scripts of other origins: the allowed one gets the response, the refused one nothing."""
    wrong = []
    for host in (ALLOWED, REFUSED):
        page.driver.get(f"http://{host}:{port}/")
        email = f"user@{host}"
        body = {"name": "Grace Hopper", "email": email, "password": "correct horse battery staple"}
        got = page.driver.execute_async_script(SIGN_UP, f"{page.origin}/signup", body)
        if host == REFUSED:
            as_expected = got == "TypeError"
        else:
            as_expected = isinstance(got, dict) and (got["status"], got["email"]) == (201, email) and got["location"]
        if not as_expected:
            wrong.append(f"a page of {host} got {got}")
    # The browser correctly logs the refused request.
    page.driver.get_log("browser")
    page.driver.get_log("performance")
    return wrong


@contextlib.contextmanager
def behind_a_proxy(address: str, folder: str) -> Iterator[int]:
    """The port of a HAProxy that serves only the service, under PREFIX."""
    path = os.environ.get("PATH", "") + ":/usr/sbin"
    program = shutil.which("haproxy", path=path)
    if not program:
        raise SystemExit("docs-page: haproxy is missing; on Debian and Ubuntu scripts/install.sh haproxy installs it")
    # The proxy inherits a listening port, so that the browser may connect before it is up.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        configuration = Path(folder) / "haproxy.cfg"
        configuration.write_text(
            f"""defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend proxy
  bind fd@{listener.fileno()}
  http-request redirect code 308 location {PREFIX}/ if {{ path {PREFIX} }}
  http-request return status 404 unless {{ path_beg {PREFIX}/ }}
  default_backend service
backend service
  http-request replace-path {PREFIX}(/.*) \\1
  http-request set-header X-Forwarded-For %[src]
  http-response replace-header Location ^(/.*) {PREFIX}\\1
  server service {address}
"""
        )
        with service.started([program, "-db", "-f", str(configuration)], pass_fds=[listener.fileno()]):
            yield listener.getsockname()[1]


def sign_up_under_a_path(page: Page, address: str, folder: str) -> list[str]:
    """Signs up with the service under a path of its host, and follows links from the front page to a problem and back."""
    with behind_a_proxy(address, folder) as port:
        prefixed = Page(page.driver, f"http://{HOST}:{port}{PREFIX}")
        sign_up(prefixed, "prefixed@example.org")
        prefixed.the("#operations-signup-sign_up .live-responses-table", f"location: {PREFIX}/users/")
        wrong = prefixed.errors()
        # The proxy adds the slash, without which links would lead out of the path.
        prefixed.driver.get(prefixed.origin)
        assert prefixed.driver.current_url == f"{prefixed.origin}/", prefixed.driver.current_url
        prefixed.click("main a[href='problems']")
        prefixed.click("a[href='problems/validation-failed']")
        prefixed.the("h2", "What to do")
        prefixed.click("main a[href='../problems']")
        prefixed.the("h1", "Problems")
        assert prefixed.driver.current_url == f"{prefixed.origin}/problems", prefixed.driver.current_url
        return wrong + prefixed.errors()


def main() -> None:
    os.environ.update(no_proxy="*", NO_PROXY="*")
    with (
        blank_pages() as port,
        service.service("sqlite", CORS_ALLOWED_ORIGINS=f"http://{ALLOWED}:{port}") as running,
        tempfile.TemporaryDirectory() as profile,
        tempfile.TemporaryDirectory() as folder,
    ):
        page = Page(browser(profile), f"http://{HOST}:{running.address.rsplit(':', 1)[1]}")
        try:
            sign_up(page)
            screenshot(page)
            sign_up_again(page)
            read_own_account(page, running.log_in(ADDRESS)["access_token"])
            wrong = page.errors()
            wrong += check_accessibility(page)
            wrong += page.errors()
            wrong += read_about_problems(page)
            wrong += page.errors()
            wrong += sign_up_under_a_path(page, running.address, folder)
            wrong += sign_up_from_elsewhere(page, port)
        finally:
            page.driver.quit()
    if wrong:
        raise SystemExit("docs-page: FAILED\n" + "\n".join(wrong))
    if "--screenshot" in sys.argv:
        COMMITTED.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(SCREENSHOT, COMMITTED)
        print(f"docs-page: wrote {COMMITTED.relative_to(service.ROOT)}")
    print("docs-page: 1 passed, 0 failed")


if __name__ == "__main__":
    main()

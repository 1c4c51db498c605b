"""Opens /docs in a real browser and signs up twice through "Try it out", with one key; opens the pages about problems
on a screen as narrow as a phone's; asks axe about every page, in light and in dark. Nothing may come from elsewhere,
and no page may complain.

    make check-docs-page
    make docs-screenshot      the same, and writes docs/images/docs.png anew
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import urllib.parse
import urllib.request
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

import service

COMMITTED = service.ROOT / "docs" / "images" / "docs.png"
SCREENSHOT = service.TARGET / "docs-page" / "docs.png"
# A name that is no loopback address, as Swagger UI spares those its questions to others.
HOST = "docs.test"
ADDRESS = "ada.lovelace@example.org"
PATIENCE = 60
AXE = service.TARGET / "openapi-node" / "node_modules" / "axe-core" / "axe.min.js"


def found(*names: str) -> str:
    """The program of one of these names."""
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
        f"--host-resolver-rules=MAP {HOST} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(found("chromedriver")))


class Page:
    """A page, and what it has asked for and complained about."""

    def __init__(self, driver: webdriver.Chrome, origin: str) -> None:
        self.driver = driver
        self.origin = origin
        # What the browser's own first page has asked for does not count.
        driver.get("about:blank")
        driver.get_log("performance")

    def the(self, selector: str, text: str = "") -> WebElement:
        """The element that is shown with this text, once it is."""

        def look(driver: webdriver.Chrome) -> WebElement | None:
            elements = driver.find_elements(By.CSS_SELECTOR, selector)
            return next((e for e in elements if e.is_displayed() and text in e.text), None)

        element = WebDriverWait(self.driver, PATIENCE).until(look, f"no {selector} with {text!r}")
        assert element
        return element

    def click(self, selector: str) -> None:
        element = self.the(selector)
        # What a click scrolls to, a header that stays in place may cover.
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def complaints(self) -> list[str]:
        """Everything that should not have happened since the last look."""
        wrong = [
            f"console: {entry['message']}" for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"
        ]
        asked = []
        for entry in self.driver.get_log("performance"):
            event: dict[str, Any] = json.loads(entry["message"])["message"]
            if event["method"] == "Network.requestWillBeSent":
                asked.append(event["params"]["request"]["url"])
            if event["method"] in ("Runtime.exceptionThrown", "Network.loadingFailed"):
                wrong.append(f"{event['method']}: {event['params']}")
        wrong += [f"asked elsewhere: {url}" for url in asked if not url.startswith((self.origin + "/", "data:"))]
        if not asked:
            wrong.append("no request was seen at all")
        return wrong


def sign_up(page: Page) -> None:
    """Signs up by "Try it out"."""
    operation = "#operations-signup-sign_up"
    page.driver.get(f"{page.origin}/docs")
    page.click(f"{operation} .opblock-summary-control")
    page.click(f"{operation} .try-out__btn")
    body = {"name": "Ada Lovelace", "email": ADDRESS, "password": "correct horse battery staple"}
    field = page.the(f"{operation} textarea.body-param__text")
    field.clear()
    field.send_keys(json.dumps(body, indent=2))
    page.click(f"{operation} .execute")
    page.the(f"{operation} .live-responses-table .response-col_status", "201")
    page.the(f"{operation} .live-responses-table", ADDRESS)


def sign_up_again(page: Page) -> None:
    """Presses "Execute" once more: the key is the same, and the response says so."""
    operation = "#operations-signup-sign_up"
    page.click(f"{operation} .execute")
    page.the(f"{operation} .live-responses-table", "idempotent-replayed: true")


def barriers(page: Page, state: str) -> list[str]:
    """What axe finds wrong for people who see or hear the page otherwise."""
    page.driver.execute_script(AXE.read_text())
    violations = page.driver.execute_async_script(
        "const done = arguments[0]; axe.run(document).then((result) => done(result.violations))"
    )
    return [
        f"axe, {state}: {violation['id']} at {node['target']}" for violation in violations for node in violation["nodes"]
    ]


def without_barriers(page: Page) -> list[str]:
    """Every page in both colour schemes; /docs closed, and with all of its operations open."""
    wrong: list[str] = []
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        # The page comes by its type, as an address that is typed in asks for HTML.
        for path in ("", "docs/licence", "problems", "problems/validation-failed"):
            page.driver.get(f"{page.origin}/{path}")
            page.the("main h1")
            wrong += barriers(page, f"/{path}, {scheme}")
            name = path.replace("/", "-") or "root"
            page.driver.save_screenshot(str(SCREENSHOT.with_name(f"{name}-{scheme}.png")))
        page.driver.get(f"{page.origin}/docs")
        page.the("#operations-signup-sign_up .opblock-summary-control")
        wrong += barriers(page, f"/docs, {scheme}")
        page.driver.save_screenshot(str(SCREENSHOT.with_name(f"docs-{scheme}.png")))
        page.driver.execute_script(
            "for (const button of document.querySelectorAll('.opblock:not(.is-open) .opblock-summary-control')) "
            "button.click()"
        )
        page.the("#operations-operations-ready .responses-table")
        wrong += barriers(page, f"/docs with all open, {scheme}")
    return wrong


def screenshot(page: Page) -> None:
    """What was sent, and what came back."""
    sent = page.the("#operations-signup-sign_up .opblock-section-request-body")
    page.driver.execute_script("arguments[0].scrollIntoView()", sent)
    SCREENSHOT.parent.mkdir(parents=True, exist_ok=True)
    assert page.driver.save_screenshot(str(SCREENSHOT))


def read_about_problems(page: Page) -> list[str]:
    """From the list to a page, on a narrow screen; says what does not fit it."""
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True},
    )
    page.driver.get(f"{page.origin}/problems")
    wrong = too_wide(page)
    page.click("a[href='problems/validation-failed']")
    page.the("h2", "What to do")
    assert page.driver.save_screenshot(str(SCREENSHOT.with_name("problem.png")))
    return wrong + too_wide(page)


def too_wide(page: Page) -> list[str]:
    """Whether somebody has to scroll sideways, or to zoom."""
    widths = page.driver.execute_script(
        "const page = document.documentElement; return [page.scrollWidth, page.clientWidth, innerWidth]"
    )
    return [] if widths == [360, 360, 360] else [f"{page.driver.current_url} does not fit a narrow screen: {widths}"]


def main() -> None:
    os.environ.update(no_proxy="*", NO_PROXY="*")
    with service.service("sqlite") as address, tempfile.TemporaryDirectory() as profile:
        page = Page(browser(profile), f"http://{HOST}:{address.rsplit(':', 1)[1]}")
        try:
            sign_up(page)
            screenshot(page)
            sign_up_again(page)
            wrong = page.complaints()
            wrong += without_barriers(page)
            wrong += page.complaints()
            wrong += read_about_problems(page)
            wrong += page.complaints()
        finally:
            page.driver.quit()
        query = urllib.parse.urlencode({"email": ADDRESS})
        with urllib.request.urlopen(f"http://{address}/users?{query}", timeout=PATIENCE) as answer:
            if len(json.load(answer)["users"]) != 1:
                wrong.append("the service does not know the user")
    if wrong:
        raise SystemExit("docs-page: FAILED\n" + "\n".join(wrong))
    if "--screenshot" in sys.argv:
        COMMITTED.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(SCREENSHOT, COMMITTED)
        print(f"docs-page: wrote {COMMITTED.relative_to(service.ROOT)}")
    print("docs-page: 1 passed, 0 failed")


if __name__ == "__main__":
    main()

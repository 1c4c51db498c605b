"""Uses the pages for people, and that for administrators, in a real browser, on both databases: from the signup by the mail
to the account, at the sizes of a desktop and of a phone (320 px), in light and dark. Each page, in each state, is checked
with axe and must not scroll sideways; nothing is loaded from elsewhere, and the console stays clean. Then the network is
cut: a double click, a reload and a lost response make one account, and tabs do not destroy each other's session. At last
the same with `SIGNUP_ANSWER=uniform`, behind a proxy that serves the service under a path.

    make check-pages
    make pages-screenshots      the same, and updates docs/images/pages-*.png and administration-*.png
"""

from __future__ import annotations

import shutil
import sys
import time
import traceback
import urllib.request
from collections.abc import Callable
from pathlib import Path

from administration import ADMINISTRATION, ADMINISTRATION_WAYS
from browse import LOOKS, NEW_PASSWORD, PASSWORD, PATIENCE, SCREENSHOTS, Pages, running_pages
from changes import CHANGES
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.support.wait import WebDriverWait

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"


def mistakes_are_found(pages: Pages) -> None:
    """What is planted in a page is found: otherwise the other parts would pass whatever the pages are like."""
    pages.open("sign-up")
    pages.see("h1", "Sign up")
    before, pages.wrong = pages.wrong, []
    pages.driver.execute_script(
        "document.querySelector('label').remove();"
        "document.body.append(Object.assign(document.createElement('pre'), {textContent: 'wide'.repeat(500)}));"
        "document.querySelector('pre').style.whiteSpace = 'pre';"
        "document.body.append(Object.assign(new Image(), {alt: '', src: 'https://elsewhere.example/a.png'}));"
        "document.head.append(Object.assign(document.createElement('style'), {textContent: 'p { color: red }'}));"
        "try { document.body.insertAdjacentHTML('beforeend', '<p>'); } catch (error) { document.title = error.name; }"
    )
    pages.check("planted")
    found, pages.wrong = "\n".join(pages.wrong + pages.unexpected()), before
    assert pages.driver.title == "TypeError", "text becomes markup"
    for expected in (": label at", "scrolls sideways", "img-src", "style-src"):
        assert expected in found, f"{expected} is not in {found}"


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

    # The same, and the user reloads: the page says so, and has kept all but the password.
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

    # The mail of the last one has come; those before it did, each once.
    for name in ("cut", "double", "lost", "reload", "other"):
        pages.mailbox.link("verify", f"{name}@example.org")
        assert pages.mailbox.count("verify", f"{name}@example.org") == 1, name


def a_taken_address_does_not_show(pages: Pages) -> None:
    """With `SIGNUP_ANSWER=uniform`, a page looks the same whether an address has an account; its mailbox gets to know, once,
    though the button is pressed twice, the response lost and the page reloaded."""
    taken, free = pages.verified("known"), "free@example.org"
    before = pages.total()
    shown = []
    for address, kind in ((taken, "account_exists"), (free, "verify")):
        pages.forget()
        pages.fill_in_signup(address)
        pages.wire.forget()
        with pages.wire.losing_responses():
            button = pages.see("#sign-up button[type=submit]")
            pages.driver.execute_script("arguments[0].click(); arguments[0].click()", button)
            pages.wire.wait_until_lost(1)
            lost = pages.see("#sign-up [role=status]", "We do not know yet").text
        pages.driver.refresh()
        reloaded = pages.see("#notice", "We do not know yet whether your account was made").text
        pages.type("password", PASSWORD)
        pages.press("sign-up")
        pages.see("h1", "Look into your mailbox")
        pages.see("#address", address)
        sent = pages.wire.requests("POST", "/signup")
        assert len(sent) >= 2 and len({request.key for request in sent}) == 1 and sent[0].key, sent
        done = pages.see("main").text
        assert "If the address has an account already" in done and "your account is ready" not in done, done
        pages.check("sign-up-uniform")
        # A newer mail takes the place of one that was not sent yet.
        pages.mailbox.text(kind, address)
        pages.press("resend")
        resent = pages.see("#resend [role=status]", "If this address waits to be confirmed").text
        # How long a page waits before it tries again depends on how often it has tried.
        texts = (lost.split(" We try again")[0], reloaded, done, resent)
        shown.append([text.replace(address, "…") for text in texts])
    assert shown[0] == shown[1], shown
    assert "forgot-password" in pages.mailbox.text("account_exists", taken)
    # Before it is confirmed, a login is refused as one to no account; the page offers the mail all the same.
    said = []
    for address, password in ((free, PASSWORD), (free, NEW_PASSWORD), ("none@example.org", PASSWORD)):
        pages.open("log-in")
        pages.type("email", address)
        pages.type("password", password)
        pages.press("log-in")
        alert = pages.see("#log-in [role=alert]").text
        pages.see("#resend button", "Send the mail that confirms my address again")
        said.append(alert)
    assert len(set(said)) == 1 and said[0], said
    # The signup, and the button that sends its mail again.
    pages.driver.get(pages.mailbox.link("verify", free, 2))
    pages.type("password", PASSWORD)
    pages.press("verify")
    pages.at("account")
    pages.see("#notice", "Your address is confirmed")
    pages.press("log-out")
    pages.at("log-in")
    pages.log_in(free)
    counts = {
        address: [pages.mailbox.count(kind, address) for kind in ("verify", "account_exists", "reset")]
        for address in (taken, free)
    }
    assert counts == {taken: [1, 1, 0], free: [2, 0, 0]}, counts
    assert pages.accounts(taken) == pages.accounts(free) == 1
    assert pages.total() == before + 1


def sessions(pages: Pages) -> None:
    """The list knows this device, and ends others."""
    address = pages.verified("sessions")
    others = [pages.running.log_in(address) for _ in range(3)]
    pages.log_in(address)
    pages.count("#sessions li", 4)
    pages.count("#sessions .badge", 1)
    pages.see("#sessions li:has(.badge)", "Chrome on Linux")
    pages.check("sessions")
    pages.click("#sessions li:nth-child(2) button")
    pages.see("#end-others [role=status]", "The session has ended")
    pages.count("#sessions li", 3)
    assert pages.focused() == "sessions-title"
    alive = [pages.status("/auth/refresh", {"refresh_token": other["refresh_token"]}) for other in others]
    assert sorted(alive) == [200, 200, 401], alive
    pages.press("end-others")
    pages.count("#sessions li", 1)
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
        how = "return performance.getEntriesByType('navigation')[0].type"
        WebDriverWait(pages.driver, PATIENCE).until(lambda driver: driver.execute_script(how) == "reload")
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
WAYS: list[Callable[[Pages], None]] = [
    the_whole_way,
    a_new_password,
    pages_without_a_link,
    errors_beside_their_fields,
    *ADMINISTRATION_WAYS,
]
ONCE: list[Callable[[Pages], None]] = [
    mistakes_are_found,
    only_the_keyboard,
    one_account,
    sessions,
    tabs,
    *CHANGES,
    *ADMINISTRATION,
]

# On a service that keeps to itself which addresses have accounts, behind a prefix of a proxy; by database.
ELSEWHERE: dict[str, list[Callable[[Pages], None]]] = {
    "sqlite": [the_whole_way, a_new_password, a_taken_address_does_not_show, one_account, *CHANGES],
    "postgres": [a_taken_address_does_not_show],
}

# Pictures in the documentation, and the states that they show.
PICTURES = {
    "pages-sign-up.png": "sign-up-errors-desktop-light.png",
    "pages-lost.png": "sign-up-lost-phone-dark.png",
    "pages-account.png": "account-desktop-light.png",
    "pages-phone.png": "account-phone-dark.png",
    "administration-user.png": "admin-user-desktop-light.png",
    "administration-question.png": "admin-question-phone-dark.png",
}


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
            pages.must_be_right()
    for backend, parts in ELSEWHERE.items():
        with running_pages(backend, "/accounts", SIGNUP_ANSWER="uniform") as pages:
            pages.unexpected()
            pages.appear(LOOKS[2])
            for part in parts:
                run(pages, part)
                passed += 1
            pages.must_be_right()
    if "--screenshots" in sys.argv:
        for name, state in PICTURES.items():
            shutil.copyfile(SCREENSHOTS / state, IMAGES / name)
            print(f"check-pages: wrote {(IMAGES / name).relative_to(ROOT)}")
    print(f"check-pages: {passed} passed, 0 failed")


if __name__ == "__main__":
    main()

"""Ways through the page of the account that change it: the profile, the password, the address, the data, the end."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import tempfile
from pathlib import Path

from browse import NEW_PASSWORD, PASSWORD, PATIENCE, Pages
from selenium.webdriver.support.wait import WebDriverWait


def age_the_login(pages: Pages) -> None:
    """Makes the last password of every session an hour old, so that what needs a fresh one asks for it."""
    url = pages.running.settings["DATABASE_URL"]
    if pages.backend == "sqlite":
        with sqlite3.connect(url.removeprefix("sqlite://"), timeout=PATIENCE) as database:
            database.execute("UPDATE sessions SET auth_time = auth_time - 3600000000")
    else:
        statement = "UPDATE sessions SET auth_time = auth_time - interval '1 hour'"
        subprocess.run(["psql", url, "-q", "-c", statement], check=True)
    pages.expire()


def step_up(pages: Pages) -> None:
    """Enters the password where it is asked for, the second time rightly."""
    pages.type("step-up-password", "wrong horse battery staple")
    pages.press("step-up-form")
    pages.see("#step-up-password-error", "This is not your password")
    assert pages.focused() == "step-up-password"
    pages.type("step-up-password", PASSWORD)
    pages.press("step-up-form")


def profile(pages: Pages) -> None:
    """Changes the names; not over a change that was made elsewhere; once, if the response is lost."""
    address = pages.verified(f"profile.{pages.look}")
    pages.log_in(address)
    pages.type("display_name", "Countess")
    pages.press("profile")
    pages.see("#profile [role=status]", "Saved")
    pages.see("#who", "Countess")
    first = pages.driver.current_window_handle
    pages.driver.switch_to.new_window("tab")
    pages.open("account")
    pages.see("#sessions .badge")
    pages.type("display_name", "Ada of elsewhere")
    pages.press("profile")
    pages.see("#profile [role=status]", "Saved")
    pages.driver.close()
    pages.driver.switch_to.window(first)
    pages.type("display_name", "Ada of here")
    pages.press("profile")
    pages.see("#profile [role=alert]", "changed elsewhere meanwhile")
    assert pages.see("#display_name").get_attribute("value") == "Ada of elsewhere"
    pages.type("display_name", "Ada of here")
    with pages.wire.losing_responses():
        pages.press("profile")
        pages.see("#profile [role=status]", "We do not know yet")
    pages.see("#profile [role=status]", "Saved")
    pages.type("name", " ")
    pages.press("profile")
    pages.see("#name-error")
    pages.check("profile-errors")


def password(pages: Pages) -> None:
    """Changes the password, once though the response is lost; other sessions end, this one goes on."""
    address = pages.verified(f"password.{pages.look}")
    other = pages.running.log_in(address)
    pages.log_in(address)
    pages.type("current", "wrong horse battery staple")
    pages.type("new", NEW_PASSWORD)
    pages.press("password")
    pages.see("#current-error", "not your current password")
    pages.type("current", PASSWORD)
    pages.wire.forget()
    with pages.wire.losing_responses():
        pages.press("password")
        pages.see("#password [role=status]", "We do not know yet")
    pages.see("#password [role=status]", "Your password is changed")
    sent = pages.wire.requests("POST", "/users/me/password")
    assert len(sent) >= 2 and len({request.key for request in sent}) == 1, sent
    assert pages.status("/auth/refresh", {"refresh_token": other["refresh_token"]}) == 401
    assert pages.status("/auth/login", {"email": address, "password": PASSWORD}) == 401
    pages.driver.refresh()
    pages.see("#sessions .badge", "this device")


def address(pages: Pages) -> None:
    """Changes the address by the mail to the new one, and back by the mail to the old one."""
    old = pages.verified(f"old.{pages.look}")
    new = f"new.{pages.look}@example.org"
    pages.log_in(old)
    age_the_login(pages)
    pages.type("new-email", new)
    pages.press("email")
    pages.see("#step-up-password")
    pages.click("#step-up-cancel")
    pages.press("email")
    step_up(pages)
    pages.see("#email [role=status]", f"A mail to {new} is on its way")
    pages.see("#address", old)
    pages.driver.get(pages.mailbox.link("confirm_email", new))
    pages.press("change")
    pages.see("h1", "Done")
    pages.check("confirm-email-done")
    # The session that asked goes on, and knows the new address.
    pages.open("account")
    pages.see("#address", new)
    pages.driver.get(pages.mailbox.link("email_changing", old))
    pages.press("change")
    pages.see("h1", "Done")
    pages.check("undo-email-done")
    assert pages.status("/auth/login", {"email": old, "password": PASSWORD}) == 401
    pages.open("account")
    pages.at("log-in")
    pages.driver.get(pages.mailbox.link("email_restored", old))
    pages.type("password", NEW_PASSWORD)
    pages.press("reset")
    pages.at("log-in")
    pages.log_in(old, NEW_PASSWORD)
    pages.see("#address", old)


def data(pages: Pages) -> None:
    """Gets the file with the user's data, with a fresh password. The language of the browser is in it."""
    address = f"data.{pages.look}@example.org"
    pages.fill_in_signup(address)
    pages.press("sign-up")
    pages.see("h1", "Look into your mailbox")
    pages.driver.get(pages.mailbox.link("verify", address))
    pages.type("password", PASSWORD)
    pages.press("verify")
    pages.at("account")
    age_the_login(pages)
    with tempfile.TemporaryDirectory() as folder:
        behaviour = {"behavior": "allow", "downloadPath": folder}
        pages.driver.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
        pages.press("export")
        step_up(pages)
        pages.see("#export [role=status]", "among your downloads")
        file = Path(folder) / "account.json"
        WebDriverWait(pages.driver, PATIENCE).until(lambda _: file.exists(), "no file")
        account = json.loads(file.read_text())["account"]
        assert account["email"] == address, account
        assert account["locale"] == pages.driver.execute_script("return navigator.language"), account


def end(pages: Pages) -> None:
    """Erases the account: not without the check mark, and with a fresh password."""
    address = pages.verified(f"end.{pages.look}")
    pages.log_in(address)
    pages.press("erase")
    pages.see("#sure-error", "Check this first")
    assert pages.focused() == "sure"
    pages.click("#sure")
    age_the_login(pages)
    pages.press("erase")
    step_up(pages)
    pages.at("log-in")
    pages.see("#notice", "Your account is erased")
    assert pages.accounts(address) == 0
    assert pages.status("/auth/login", {"email": address, "password": PASSWORD}) == 401
    assert pages.stored("session") is None


CHANGES = [profile, password, address, data, end]

"""The same for the dashboard: passwords, links, sessions and secrets are not stored in plain text."""
import pathlib
import re

from harness import Server
from pages import Browser
from test_canary import assert_clean

PASSWORD = "canary-password-0123456789"
WRONG = "canary-wrong-password-987"


def test_no_secret_of_a_dashboard_session_is_stored_or_logged_in_plain_text():
    server = Server(arguments=["--log", "debug"])
    try:
        link = re.search(rb"first_admin_link=(\S+)", server.stdout)[1].decode()
        token = link.split("token=")[1]
        browser = Browser(server.url)
        path = "/setup?token=" + token
        assert browser.send(path, email="a@example.com", new_password=WRONG, again=PASSWORD).status_code == 400
        assert browser.send(path, email="a@example.com", new_password=PASSWORD, again=PASSWORD).status_code == 303
        first = browser.cookies["__Host-keyreeve"]
        made = browser.send("/keys/new", name="canary", expires="30")
        secret = re.search(r'id="secret"[^>]*value="([^"]+)"', made.text)[1]
        page = browser.ask("GET", "/keys").text
        key = re.search(r"/keys/(ak_[0-9a-f]{32})", page)[1]
        csrf = re.search(r'name="csrf" value="([^"]+)"', page)[1]
        assert browser.ask("POST", "/keys/search", {"csrf": csrf, "query": secret}).headers["location"] == f"/keys/{key}"
        assert browser.ask("POST", "/keys/search", {"csrf": csrf, "query": secret + "x"}).headers["location"] == "/keys"
        # A secret in a wrong place: as a name, in a form that is refused, in an address.
        assert secret not in browser.ask("POST", "/keys/new", {"name": secret, "csrf": "x"}).text
        browser.ask("GET", f"/keys?query={secret}")
        browser.ask("GET", f"/keys/{secret}")
        rotated = browser.send(f"/keys/{key}/rotate", name="canary", expires="keep")
        newer = re.search(r'id="secret"[^>]*value="([^"]+)"', rotated.text)[1]
        change = {"csrf": csrf, "password": WRONG, "new_password": PASSWORD, "again": PASSWORD}
        assert browser.ask("POST", "/account/password", change).status_code == 400
        browser.ask("POST", "/logout", {"csrf": csrf})
        browser.cookies.pop("__Host-keyreeve", None)
        assert browser.send("/login", email="a@example.com", password=WRONG).status_code == 401
        assert browser.send("/login", email="a@example.com", password=PASSWORD).status_code == 303
        second = browser.cookies["__Host-keyreeve"]
        assert first != second
        plain = [PASSWORD, WRONG, token, first, second]
        for stopped in [False, True]:
            if stopped:
                assert server.stop() == 0
            for file in pathlib.Path(server.data).rglob("*"):
                if file.is_file():
                    text = file.read_bytes()
                    assert_clean(file.name, text, [secret, newer])
                    assert not [word for word in plain if word.encode() in text], file
        log = server.stderr()
        assert_clean("the log", log.encode(), [secret, newer])
        assert not [word for word in plain if word in log]
    finally:
        server.close()

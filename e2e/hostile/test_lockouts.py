"""Other clients cannot lock a user out: neither of the dashboard nor of an emergency revocation."""
import binascii
import concurrent.futures
import os
import re
import secrets
import subprocess
import time

import pytest
import requests

import harness
from harness import Server, assert_error
from pages import Browser

PASSWORD = "quite a long sentence 71"
WRONG = "this is another sentence"
EMAIL = "ada@example.com"
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Visitor(Browser):
    """A browser behind a proxy that sends its address."""

    def __init__(self, url, address=None):
        super().__init__(url)
        self.address = address

    def ask(self, method, path, form=None):
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"Cookie": cookie, "Accept": "text/html"}
        if self.address:
            headers["X-Forwarded-For"] = self.address
        answer = requests.request(method, self.url + path, data=form, allow_redirects=False, timeout=60, headers=headers)
        for cookie in answer.raw.headers.getlist("set-cookie"):
            name, value = cookie.split(";")[0].split("=", 1)
            self.cookies[name] = value
        return answer

    def sign_in(self, password=PASSWORD, email=EMAIL):
        return self.send("/login", email=email, password=password).status_code

    def copy(self):
        copy = Visitor(self.url, self.address)
        copy.cookies = dict(self.cookies)
        return copy

    def is_stopped(self, email=EMAIL, guesses=45):
        """Concurrent guesses: a guess is counted before it is checked."""
        self.ask("GET", "/login")
        with concurrent.futures.ThreadPoolExecutor(guesses) as pool:
            answers = list(pool.map(lambda _: self.copy().sign_in(WRONG, email), range(guesses)))
        assert set(answers) <= {401, 429}, answers
        return 429 in answers


def keyreeve(server, *arguments, **options):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KEYREEVE_")}
    return subprocess.run([harness.BINARY, *arguments, "--data", server.data], capture_output=True, text=True, timeout=60,
                          check=False, env=clean, **options)


def serve(*arguments):
    server = Server(arguments=arguments)
    made = keyreeve(server, "users", "create", EMAIL, "--role", "admin", "--password-stdin", input=PASSWORD)
    assert made.returncode == 0, made.stderr
    return server


@pytest.fixture
def plain():
    server = serve()
    yield server
    server.close()


@pytest.fixture
def behind():
    server = serve("--trusted-proxies", "127.0.0.0/8,10.0.0.0/8")
    yield server
    server.close()


def junk():
    """A secret of the right form with a valid checksum that no key has."""
    start = "ak_kr1" + "".join(secrets.choice(ALPHABET) for _ in range(43))
    crc, digits = binascii.crc32(start.encode()), ""
    for _ in range(6):
        crc, digit = divmod(crc, 62)
        digits = ALPHABET[digit] + digits
    return start + digits


def test_wrong_passwords_from_one_client_stop_that_client_alone(behind):
    attacker = Visitor(behind.url, "192.0.2.1")
    assert attacker.is_stopped()
    assert attacker.sign_in() == 429
    assert Visitor(behind.url, "203.0.113.7, 192.0.2.1, 10.1.1.1").sign_in() == 429, "what it says of itself means nothing"
    assert Visitor(behind.url, "192.0.2.2").sign_in() == 303
    events = behind.call("GET", "/v1/audit_events", params={"action": "user.signed_in"}).json()["data"]
    assert events[0]["address"] == "192.0.2.2"


def test_without_trusted_proxies_x_forwarded_for_is_ignored(plain):
    with concurrent.futures.ThreadPoolExecutor(45) as pool:
        visitors = [Visitor(plain.url, f"192.0.2.{number}") for number in range(45)]
        assert 429 in list(pool.map(lambda visitor: visitor.sign_in(WRONG), visitors))


def test_a_known_browser_is_not_blocked_by_other_clients_and_has_its_own_limit(plain):
    known, stranger = Visitor(plain.url), Visitor(plain.url)
    assert known.sign_in() == 303 and "__Host-keyreeve-device" in known.cookies
    known.cookies.pop("__Host-keyreeve")
    assert stranger.is_stopped() and stranger.sign_in() == 429
    forger = Visitor(plain.url)
    forger.cookies["__Host-keyreeve-device"] = known.cookies["__Host-keyreeve-device"][:-1] + "x"
    assert forger.sign_in() == 429
    assert known.sign_in() == 303
    known.cookies.pop("__Host-keyreeve")
    assert known.is_stopped(), "it is no way to guess without end"


def test_an_open_session_confirms_its_password_while_other_clients_guess(plain):
    inside = Visitor(plain.url)
    assert inside.sign_in() == 303
    assert Visitor(plain.url).is_stopped()
    csrf = re.search(r'name="csrf" value="([^"]*)"', inside.ask("GET", "/account").text)[1]
    new = "another long sentence 72"
    form = {"csrf": csrf, "password": PASSWORD, "new_password": new, "again": new}
    changed = inside.ask("POST", "/account/password", form)
    assert changed.status_code == 303, changed.text


def test_a_browser_that_changes_its_password_stays_known(plain):
    inside, new = Visitor(plain.url), "another long sentence 72"
    assert inside.sign_in() == 303
    csrf = re.search(r'name="csrf" value="([^"]*)"', inside.ask("GET", "/account").text)[1]
    form = {"csrf": csrf, "password": PASSWORD, "new_password": new, "again": new}
    assert inside.ask("POST", "/account/password", form).status_code == 303
    assert Visitor(plain.url).is_stopped()
    inside.cookies.pop("__Host-keyreeve")
    assert inside.sign_in(new) == 303


def test_correct_passwords_do_not_count_as_guesses(plain):
    for _ in range(45):
        assert Visitor(plain.url).sign_in() == 303


@pytest.mark.parametrize("make", [junk, lambda: "nothing of the kind"])
def test_unknown_secrets_block_no_revocation_and_no_report_of_a_known_one(make):
    server = Server()
    try:
        with requests.Session() as session:
            def revoke(token):
                return session.post(server.url + "/oauth2/revoke", data={"token": token}, timeout=30)

            def report(secret):
                return session.post(server.url + "/v1/leaks", json={"secret": secret}, timeout=30)

            revoked, reported = server.create("revoked"), server.create("reported")
            def many(call, count):
                with concurrent.futures.ThreadPoolExecutor(16) as pool:
                    return set(pool.map(lambda _: call(make()).status_code, range(count)))

            assert many(revoke, 700) == {200, 429}
            assert revoke(revoked["secret"]).status_code == 200
            assert not server.verify(revoked["secret"])["valid"]
            assert revoke(revoked["secret"]).status_code == 200, "again, because the answer was lost"
            assert many(report, 150) == {202, 429}
            assert report(reported["secret"]).status_code == 202
            assert not server.verify(reported["secret"])["valid"]
            # Far beyond the number that is looked up at once.
            assert many(revoke, 700) <= {200, 429}
            late = server.create("late")
            assert revoke(late["secret"]).status_code == 200 and not server.verify(late["secret"])["valid"]
    finally:
        server.close()


@pytest.mark.parametrize("password", ["password", "Password123", "12345678", "qwertyuiop", "ada.lovelace@example.com",
                                      "ADA.lovelace@example.com", "ada.lovelace"])
def test_a_common_password_is_refused(server, password):
    email = "ada.lovelace@example.com"
    made = keyreeve(server, "users", "create", email, "--password-stdin", input=password)
    assert made.returncode != 0 and "password" in made.stderr and "guessed" in made.stderr, made.stderr
    wish = {"email": f"u{secrets.token_hex(4)}.ada.lovelace@example.com"}
    user = server.call("POST", "/v1/users", json=wish).json()
    link = server.call("POST", f"/v1/users/{user['id']}/invite").json()["link"]
    token = link.split("token=")[1]
    browser = Browser(server.url)
    tried = password if "@" not in password else wish["email"]
    if "." not in password or "@" in password:
        refused = browser.send(f"/setup?token={token}", new_password=tried, again=tried)
        assert refused.status_code == 400, refused.text
    assert browser.send(f"/setup?token={token}", new_password=PASSWORD, again=PASSWORD).status_code == 303, "it is not used up"


def test_a_refused_sign_in_has_the_same_answer_and_delay_for_every_account(plain):
    made = keyreeve(plain, "users", "create", "gone@example.com", "--password-stdin", input=PASSWORD)
    assert made.returncode == 0
    gone = re.search(r"user_[0-9a-f]{32}", made.stdout)[0]
    assert plain.call("PATCH", f"/v1/users/{gone}", json={"status": "suspended"}).status_code == 200
    plain.call("POST", "/v1/users", json={"email": "without@example.com"})
    seen = []
    for email in [EMAIL, "gone@example.com", "without@example.com", "nobody@example.com"]:
        browser = Visitor(plain.url)
        browser.ask("GET", "/login")
        began = time.monotonic()
        answer = browser.send("/login", email=email, password=WRONG)
        # The minimal time of a refused sign-in: none is answered earlier.
        assert time.monotonic() - began >= 0.6, email
        text = re.sub(r'(csrf" value=")[^"]*|req_[0-9a-f]+', "", answer.text).replace(email, "")
        seen.append((answer.status_code, text))
    assert all(one == seen[0] for one in seen), [status for status, _ in seen]

"""What a tenant can learn about others from a number, and what a request can make the server disclose about itself."""
import re

import pytest
import requests

from pages import Browser
from systems import System

PASSWORD = "quite a long sentence 71"


@pytest.fixture
def two(server):
    return System(server, "standard"), System(server, "standard")


def revoked(system, **options):
    key = system.create(**options)
    return system.do(key, "revoke")["effect"]["revision"]


def operation(system, revision, **headers):
    return system.call("GET", f"/v1/operations/op_{revision}", headers={"X-Request-Id": "same", **headers})


def test_an_operation_is_its_tenants_own(server, two):
    first, second = two
    own, foreign = revoked(first), revoked(second)
    assert operation(first, own).json()["status"] == "effective"
    unknown = operation(first, 999_999_999)
    assert unknown.status_code == 404
    newest = server.call("GET", "/v1/audit_events", params={"limit": 1}).json()["data"][0]["revision"]
    for revision in [foreign, 1, 2, newest]:
        answer = operation(first, revision)
        assert answer.status_code == 404 and answer.content == unknown.content, revision
    seen = [revision for revision in range(1, max(own, foreign) + 1) if operation(first, revision).status_code == 200]
    entries = first.call("GET", "/v1/audit_events", params={"limit": 1000}).json()["data"]
    assert seen == sorted(entry["revision"] for entry in entries)


def test_the_instance_sees_all_and_with_a_name_that_tenants(server, two):
    first, second = two
    own, foreign = revoked(first), revoked(second)
    ask = lambda revision, **headers: server.call("GET", f"/v1/operations/op_{revision}", headers=headers).status_code  # noqa: E731
    assert [ask(own), ask(foreign), ask(1)] == [200, 200, 200]
    named = {"Keyreeve-Tenant": first.slug}
    assert [ask(own, **named), ask(foreign, **named)] == [200, 404]


def test_a_member_sees_operations_of_their_own_keys_alone(two):
    system, _ = two
    member, other = system.person(), system.person()
    own, foreign = revoked(system, subject=member.id), revoked(system, subject=other.id)
    assert member.call("GET", f"/v1/operations/op_{own}").status_code == 200
    assert member.call("GET", f"/v1/operations/op_{foreign}").status_code == 404


class Spoofing(Browser):
    def ask(self, method, path, form=None):
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = requests.request(method, self.url + path, data=form, allow_redirects=False, timeout=30, headers={
            "Cookie": cookie, "Accept": "text/html", "Host": "evil.example", "X-Forwarded-Host": "evil.example",
            "X-Forwarded-Proto": "https"})
        for cookie in answer.raw.headers.getlist("set-cookie"):
            name, value = cookie.split(";")[0].split("=", 1)
            self.cookies[name] = value
        return answer


def test_no_link_of_the_dashboard_has_the_name_that_a_request_brings(fresh):
    token = re.search(rb"first_admin_link=\S+token=([0-9a-f]+)", fresh.stdout)[1].decode()
    browser = Spoofing(fresh.url)
    entered = browser.send(f"/setup?token={token}", email="a@example.com", new_password=PASSWORD, again=PASSWORD)
    assert entered.status_code == 303 and "evil" not in entered.headers["Location"]
    added = browser.send("/tenant/users", email="b@example.com", role="member", name="")
    assert f"{fresh.url}/setup?token=" in added.text and "evil.example" not in added.text
    for page in ["/", "/keys", "/tenant/keys", "/tenant/policy", "/account", "/audit", "/propagation"]:
        assert "evil.example" not in browser.ask("GET", page).text, page

"""The page of check policies, without script: the same use cases as the API."""
import re

import pytest
from harness import Server
from pages import Browser
from real import ask, bearer

PASSWORD = "a long enough password"
PAGE = "/tenant/check-policies"
FORM = {"scopes": "orders:read, orders:list", "headers": "Authorization X-Acme", "realm": "Acme", "seconds": "5",
        "credential": "none"}


@pytest.fixture(scope="module")
def world():
    server = Server()
    token = re.search(rb"first_admin_link=\S+token=(\S+)", server.stdout)[1].decode()
    admin = Browser(server.url)
    entered = admin.send("/setup?token=" + token, email="a@example.com", new_password=PASSWORD, again=PASSWORD)
    assert entered.status_code == 303
    yield server, admin
    server.close()


def policies(server):
    return {one["name"]: one for one in server.call("GET", "/v1/check_policies").json()["data"]}


def test_a_policy_is_made_changed_and_removed(world):
    server, admin = world
    key = server.create(name="one", subject="user_1", scopes=["orders:read"])["secret"]
    assert "as it comes" in admin.ask("GET", PAGE).text
    assert admin.send(PAGE, name="orders", meta="yes", **FORM).headers["location"] == PAGE
    made = policies(server)["orders"]
    assert (made["scopes"], made["key_headers"]) == (["orders:read", "orders:list"], ["Authorization", "X-Acme"])
    assert (made["meta"], made["cache_max_age_seconds"], made["realm"]) == (True, 5, "Acme")
    page = admin.ask("GET", PAGE).text
    assert "/gateway/nginx/orders" in page and "orders was made" in page
    path = "/gateway/generic/orders"
    assert ask(server.addresses["check_listen"], path, [bearer(key)]).status == 403
    edited = admin.send(f"{PAGE}/orders/edit", **{**FORM, "scopes": "orders:read"})
    assert edited.headers["location"] == PAGE and policies(server)["orders"]["meta"] is False
    assert ask(server.addresses["check_listen"], path, [bearer(key)]).status == 200
    assert "let nobody through" in admin.ask("GET", f"{PAGE}/orders/remove").text
    assert admin.send(f"{PAGE}/orders/remove").headers["location"] == PAGE
    assert "orders" not in policies(server)


def test_what_does_not_fit_comes_back_with_what_was_filled_in(world):
    server, admin = world
    for wrong in ({"name": "Bad Name"}, {"headers": "Host"}, {"seconds": "16"}, {"seconds": "x"}, {"scopes": "a\"b"},
                  {"realm": ""}, {"credential": "perhaps"}, {"name": "default"}):
        answer = admin.send(PAGE, **{"name": "kept", **FORM, **wrong})
        assert answer.status_code in (400, 409), wrong
        assert 'role="alert"' in answer.text and 'value="Acme"' in answer.text or "realm" in wrong
    answer = admin.send(f"{PAGE}/default/edit", **{**FORM, "seconds": "99"})
    assert answer.status_code == 400 and 'value="99"' in answer.text
    assert list(policies(server)) == ["default"] and policies(server)["default"]["is_built_in"]
    for nowhere in ("nothing/edit", "nothing/remove", "default/nonsense", "Bad%20Name/edit"):
        assert admin.ask("GET", f"{PAGE}/{nowhere}").status_code == 404


@pytest.mark.parametrize("role, sees", [("auditor", True), ("member", False)])
def test_who_may_not_change_policies_does_not(world, role, sees):
    server, admin = world
    invited = admin.send("/tenant/users", email=f"{role}@example.com", name="", role=role)
    token = re.search(r"setup\?token=([^\"<\s]+)", invited.text)[1]
    other = Browser(server.url)
    other.send("/setup?token=" + token, email=f"{role}@example.com", new_password=PASSWORD, again=PASSWORD)
    assert other.ask("GET", PAGE).status_code == (200 if sees else 403)
    assert "Make a check policy" not in other.ask("GET", PAGE).text
    assert other.ask("GET", f"{PAGE}/default/edit").status_code == 403
    csrf = re.search(r'name="csrf" value="([^"]+)"', other.ask("GET", "/keys").text)[1]
    for path in (PAGE, f"{PAGE}/default/edit", f"{PAGE}/default/remove"):
        assert other.ask("POST", path, {"csrf": csrf, "name": "x", **FORM}).status_code == 403
        assert Browser(server.url).ask("POST", path, FORM).status_code in (303, 401, 403), "a stranger"
    assert list(policies(server)) == ["default"]

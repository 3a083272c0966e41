"""Two users change one record: a change based on a replaced version is refused, unless it is unconditional."""
import concurrent.futures

import pytest
import requests

from harness import Server, assert_error
from systems import System

CHECK = {"name": "orders", "scopes": ["orders:read"]}


def at_once(calls):
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        return [done.result() for done in [pool.submit(call) for call in calls]]


def etag(answer):
    """The strong ETag of an answer."""
    assert answer.status_code in (200, 201), answer.text
    tag = answer.headers["ETag"]
    assert tag[0] == tag[-1] == '"' and len(tag) > 2, tag
    return tag


def change(system, method, path, tag, body=None, **options):
    return system.call(method, path, headers={"If-Match": tag, **options}, json=body)


class Record:
    """A record with an address, and two changes that differ."""

    def __init__(self, path, method, one, other):
        self.path, self.method, self.one, self.other = path, method, one, other


def records(system):
    key = system.create(scopes=["read", "admin"])
    user = system.call("POST", "/v1/users", json={"email": f"u{key['id']}@example.com"}).json()
    assert system.call("POST", "/v1/check_policies", json=CHECK).status_code == 201
    return [
        Record(f"/v1/api_keys/{key['id']}", "PATCH", {"scopes": ["read"]}, {"scopes": ["write"]}),
        Record("/v1/policy", "PUT", {"names": "any"}, {"names": "any", "limit": {"keys_per_subject": 9}}),
        Record(f"/v1/users/{user['id']}", "PATCH", {"name": "Ada"}, {"name": "Bob"}),
        Record("/v1/check_policies/orders", "PATCH", {"scopes": []}, {"meta": True}),
        Record("/v1/check_policies/default", "PATCH", {"meta": True}, {"scopes": ["a"]}),
    ]


def tenants(system):
    """The tenant itself is a record of the instance."""
    return Record(f"/v1/tenants/{system.slug}", "PATCH", {"name": "One"}, {"name": "Other"})


def every_record(system, server):
    return [(system, record) for record in records(system)] + [(server, tenants(system))]


def test_every_record_has_an_etag_that_changes_with_it_and_with_nothing_else(server):
    system = System(server, "standard")
    for caller, record in every_record(system, server):
        before = etag(caller.call("GET", record.path))
        assert etag(caller.call("GET", record.path)) == before, record.path
        changed = caller.call(record.method, record.path, json=record.one)
        assert etag(changed) != before, record.path
        assert etag(caller.call("GET", record.path)) == etag(changed), record.path
        again = caller.call(record.method, record.path, json=record.one)
        assert etag(again) == etag(changed), record.path


def test_a_change_of_what_has_changed_since_is_refused_and_changes_nothing(server):
    system = System(server, "standard")
    for caller, record in every_record(system, server):
        old = etag(caller.call("GET", record.path))
        new = etag(change(caller, record.method, record.path, old, record.one))
        stored = caller.call("GET", record.path).json()
        refused = change(caller, record.method, record.path, old, record.other)
        body = assert_error(refused, 412, "PRECONDITION_FAILED")
        meta = body["errors"][0]["meta"]
        assert meta["etag"] == new, record.path
        [made] = meta["changes"]
        assert made["actor"]["type"] == "root_key" and made["at"] and made["fields"], meta
        assert caller.call("GET", record.path).json() == stored, record.path
        assert change(caller, record.method, record.path, new, record.other).status_code == 200, record.path


def test_a_removal_of_what_has_changed_since_is_refused(server):
    system = System(server, "standard")
    for caller, record in every_record(system, server):
        if record.method == "PUT":
            continue
        old = etag(caller.call("GET", record.path))
        caller.call(record.method, record.path, json=record.one)
        assert_error(change(caller, "DELETE", record.path, old), 412, "PRECONDITION_FAILED")
        new = etag(caller.call("GET", record.path))
        assert change(caller, "DELETE", record.path, new).status_code == 200, record.path


def test_of_two_changes_of_one_version_at_once_one_is_made(server):
    for _ in range(4):
        system = System(server, "standard")
        for caller, record in every_record(system, server):
            tag = etag(caller.call("GET", record.path))
            answers = at_once([
                lambda body=body: change(caller, record.method, record.path, tag, body)
                for body in (record.one, record.other)])
            assert sorted(answer.status_code for answer in answers) == [200, 412], record.path


def test_many_different_changes_of_one_version_at_once_give_one(server):
    system = System(server, "standard", names="any")
    key = system.create()
    path = f"/v1/api_keys/{key['id']}"
    for turn in range(5):
        tag = etag(system.get(key))
        answers = at_once([
            lambda number=number: change(system, "PATCH", path, tag, {"name": f"turn {turn} of {number}"})
            for number in range(10)])
        assert sorted(answer.status_code for answer in answers) == [200] + [412] * 9


def test_a_removed_scope_does_not_come_back_and_the_refusal_says_who_took_it(server):
    system = System(server, "standard")
    admin = system.person("admin")
    key = system.create(scopes=["read", "admin"])
    path = f"/v1/api_keys/{key['id']}"
    tag = etag(system.get(key))
    assert admin.call("PATCH", path, json={"scopes": ["read"]}).status_code == 200
    stale = change(system, "PATCH", path, tag, {"scopes": ["read", "admin"], "description": "billing"})
    [made] = assert_error(stale, 412, "PRECONDITION_FAILED")["errors"][0]["meta"]["changes"]
    assert made["actor"] == {"type": "user", "id": admin.id}
    assert made["action"] == "key.updated"
    assert made["fields"] == [{"name": "scopes", "before": ["read", "admin"], "after": ["read"]}]
    shown = system.get(key).json()
    assert shown["scopes"] == ["read"] and shown["description"] is None


def test_all_changes_since_are_told_the_newest_first(server):
    system = System(server, "standard")
    key = system.create(scopes=["read"])
    path = f"/v1/api_keys/{key['id']}"
    tag = etag(system.get(key))
    system.call("PATCH", path, json={"description": "a secret plan"})
    system.do(key, "disable")
    system.do(key, "reactivate")
    refused = change(system, "PATCH", path, tag, {"name": "x"})
    meta = assert_error(refused, 412)["errors"][0]["meta"]
    assert [made["action"] for made in meta["changes"]] == ["key.reactivated", "key.disabled", "key.updated"]
    assert {"name": "state", "before": "disabled", "after": "active"} in meta["changes"][0]["fields"]
    assert meta["changes"][2]["fields"] == [{"name": "description"}], "the log has no descriptions"
    assert meta["complete"] is True
    assert "sha256" not in refused.text and "secret plan" not in refused.text


def test_every_verb_on_a_key_takes_the_condition(server):
    system = System(server, "hold")
    for verb in ["revoke", "disable", "reactivate", "rotate", "rotate/finish", "finalize"]:
        key = system.create()
        old = etag(system.get(key))
        system.call("PATCH", f"/v1/api_keys/{key['id']}", json={"description": "new"})
        refused = change(system, "POST", f"/v1/api_keys/{key['id']}/{verb}", old, {})
        assert_error(refused, 412, "PRECONDITION_FAILED")
        assert system.works(key["secret"]), verb
    new = etag(system.get(key))
    revoked = change(system, "POST", f"/v1/api_keys/{key['id']}/revoke", new, {})
    assert revoked.status_code == 200 and etag(revoked) != new


def test_use_does_not_change_an_etag(server):
    system = System(server, "standard")
    key = system.create(limits=[{"name": "calls", "limit": 100, "period": "month"}])
    before = etag(system.get(key))
    for _ in range(3):
        assert system.works(key["secret"])
    assert server.verify(key["secret"] + "x")["valid"] is False
    assert etag(system.get(key)) == before
    assert change(system, "PATCH", f"/v1/api_keys/{key['id']}", before, {"name": "used"}).status_code == 200


def test_an_etag_is_the_same_after_a_restart():
    server = Server()
    try:
        system = System(server, "standard")
        every = every_record(system, server)
        before = [etag(caller.call("GET", record.path)) for caller, record in every]
        assert server.stop() == 0
        server.start()
        assert [etag(caller.call("GET", record.path)) for caller, record in every] == before
        for (caller, record), tag in zip(every, before):
            assert change(caller, record.method, record.path, tag, record.one).status_code == 200, record.path
    finally:
        server.close()


def test_a_star_takes_any_version_and_a_list_takes_one_of_them(server):
    system = System(server, "standard")
    key = system.create()
    path = f"/v1/api_keys/{key['id']}"
    assert change(system, "PATCH", path, "*", {"description": "1"}).status_code == 200
    assert change(system, "PATCH", path.removeprefix("/v1"), '"x"', {"description": "2"}).status_code == 412
    for form in ['"other", {tag}', '{tag},"other"', ', {tag} ,, "x"', '"a,b" , {tag}', 'W/"x", {tag}']:
        tag = etag(system.get(key))
        answer = change(system, "PATCH", path, form.format(tag=tag), {"description": form})
        assert answer.status_code == 200, form


def test_a_weak_or_foreign_etag_never_matches(server):
    system = System(server, "standard")
    key = system.create()
    other = system.create()
    path = f"/v1/api_keys/{key['id']}"
    for tag in [f"W/{etag(system.get(key))}", '"x"', '""', '"' + "0" * 44 + '"', etag(system.get(other)),
                etag(system.call("GET", "/v1/policy"))]:
        assert_error(change(system, "PATCH", path, tag, {"name": "x"}), 412, "PRECONDITION_FAILED")


@pytest.mark.parametrize("wrong", ["", "abc", '"abc', 'abc"', "W/", 'w/"abc"', '"a" "b"', '*, "a"', '"a", *', "**",
                                   '"a b"', ",", '"a";', 'W/ "a"'])
def test_a_malformed_condition_is_a_bad_request(server, wrong):
    system = System(server, "standard")
    key = system.create()
    for method, path in [("PATCH", f"/v1/api_keys/{key['id']}"), ("DELETE", f"/v1/api_keys/{key['id']}"),
                         ("PUT", "/v1/policy"), ("POST", f"/v1/api_keys/{key['id']}/revoke")]:
        body = assert_error(change(system, method, path, wrong, {}), 400)
        assert body["errors"][0]["meta"]["param_name"] == "If-Match"
    assert system.works(key["secret"])


def test_what_does_not_exist_is_not_found_whatever_the_condition(server):
    system = System(server, "standard")
    elsewhere = System(server, "standard").create()
    for path in ["/v1/api_keys/ak_" + "0" * 32, f"/v1/api_keys/{elsewhere['id']}", "/v1/users/user_" + "0" * 32,
                 "/v1/check_policies/none"]:
        for tag in ["*", '"x"']:
            for method, body in [("PATCH", {}), ("DELETE", None)]:
                assert_error(change(system, method, path, tag, body), 404)


def test_where_there_is_no_version_a_condition_is_not_passed_over(server):
    system = System(server, "standard")
    wish = {"name": "new", "subject": "user_1"}
    assert_error(change(system, "POST", "/v1/api_keys", '"x"', wish), 412, "PRECONDITION_FAILED")
    assert system.listed(subject="user_1") == []


def test_a_repeated_request_is_answered_as_the_first_was(server):
    """The first request itself has changed the version."""
    system = System(server, "standard")
    key = system.create()
    path = f"/v1/api_keys/{key['id']}"
    tag = etag(system.get(key))
    first = change(system, "PATCH", path, tag, {"name": "once"}, **{"Idempotency-Key": "a"})
    again = change(system, "PATCH", path, tag, {"name": "once"}, **{"Idempotency-Key": "a"})
    assert first.status_code == again.status_code == 200
    assert etag(first) == etag(again)
    rotated = change(system, "POST", f"{path}/rotate", etag(again), {}, **{"Idempotency-Key": "b"})
    repeated = change(system, "POST", f"{path}/rotate", etag(again), {}, **{"Idempotency-Key": "b"})
    assert rotated.status_code == repeated.status_code == 200


def test_a_member_sees_changes_of_their_own_keys_alone(server):
    system = System(server, "standard")
    member, stranger = system.person(), system.person()
    key = member.create()
    path = f"/v1/api_keys/{key['id']}"
    tag = etag(member.call("GET", path))
    system.call("PATCH", path, json={"scopes": ["read"]})
    act_as = {"Keyreeve-Act-As": member.id}
    told = assert_error(change(system, "PATCH", path, tag, {"name": "x"}, **act_as), 412)
    assert told["errors"][0]["meta"]["changes"][0]["fields"][0]["name"] == "scopes"
    act_as = {"Keyreeve-Act-As": stranger.id}
    assert_error(change(system, "PATCH", path, tag, {"name": "x"}, **act_as), 404)


def test_a_tenant_and_a_check_policy_of_one_name_list_only_their_own_changes(server):
    """A check policy and a tenant may both be called `default`: each lists only its own changes."""
    system = System(server, "standard")
    path = "/v1/check_policies/default"
    tag = etag(system.call("GET", path))
    assert server.call("PATCH", path, json={"meta": True}).status_code == 200
    assert server.call("DELETE", path).status_code == 200
    system.call("PATCH", path, json={"scopes": ["mine"]})
    meta = assert_error(change(system, "PATCH", path, tag, {"meta": True}), 412)["errors"][0]["meta"]
    assert [field["name"] for made in meta["changes"] for field in made["fields"]] == ["scopes"]


def test_a_changed_policy_names_its_fields(server):
    system = System(server, "standard")
    tag = etag(system.call("GET", "/v1/policy"))
    system.call("PUT", "/v1/policy", json={"limit": {"keys_per_subject": 3}})
    meta = assert_error(change(system, "PUT", "/v1/policy", tag, {"names": "any"}), 412)["errors"][0]["meta"]
    [made] = meta["changes"]
    assert {"name": "limit.keys_per_subject", "before": None, "after": 3} in made["fields"], made
    assert etag(server.call("GET", f"/v1/tenants/{system.slug}"))


def test_what_is_unchanged_is_not_sent_again(server):
    system = System(server, "standard")
    for caller, record in every_record(system, server):
        tag = etag(caller.call("GET", record.path))
        if "/api_keys/" in record.path:
            # Its last use is not part of the version, so it is sent in full.
            assert caller.call("GET", record.path, headers={"If-None-Match": tag}).status_code == 200
            continue
        for condition in [tag, f"W/{tag}", "*", f'"x", {tag}']:
            answer = caller.call("GET", record.path, headers={"If-None-Match": condition})
            assert (answer.status_code, answer.content) == (304, b""), record.path
            assert answer.headers["ETag"] == tag
        caller.call(record.method, record.path, json=record.one)
        assert caller.call("GET", record.path, headers={"If-None-Match": tag}).status_code == 200


def test_a_root_key_is_revoked_as_it_was_made(server):
    system = System(server, "standard")
    made = system.call("POST", "/v1/root_keys", json={"name": "ci", "permissions": ["keys:read"]})
    path = f"/v1/root_keys/{made.json()['id']}"
    assert_error(change(system, "DELETE", path, '"x"'), 412, "PRECONDITION_FAILED")
    assert requests.get(server.url + "/v1/api_keys", timeout=30,
                        headers={"Authorization": f"Bearer {made.json()['secret']}"}).status_code == 200
    assert change(system, "DELETE", path, etag(made)).status_code == 200

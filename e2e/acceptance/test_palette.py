"""Spectro Cloud Palette: revoke is reversible, by user or tenant admin. Preset `hold`."""
from systems import DAY

ZERO = "ak_" + "0" * 32


def test_P_03_a_user_acts_on_own_keys_and_an_admin_on_anybodys(palette):
    user, other, admin = palette.person(), palette.person(), palette.person("admin")
    key = user.create()
    path = f"/v1/api_keys/{key['id']}"
    assert other.call("POST", path + "/revoke", json={}).status_code == 404
    assert user.call("POST", path + "/revoke", json={}).status_code == 200
    assert admin.call("POST", path + "/reactivate", json={}).status_code == 200
    assert admin.call("POST", path + "/revoke", json={}).status_code == 200


def test_P_04_who_may_list_create_reassign_and_view(palette):
    user, other, admin = palette.person(), palette.person(), palette.person("admin")
    key = user.create()
    assert {row["id"] for row in admin.call("GET", "/v1/api_keys").json()["data"]} == {key["id"]}
    assert other.call("GET", "/v1/api_keys").json()["data"] == []
    assert user.call("GET", "/v1/api_keys", params={"subject": other.id}).status_code == 403
    user.create(subject=other.id, status=403)
    made = admin.create(subject=other.id)
    for who in [user, other, admin]:
        assert who.call("PATCH", f"/v1/api_keys/{key['id']}", json={"subject": other.id}).status_code in (400, 404)
        assert who.call("GET", f"/v1/api_keys/{made['id']}/secret").status_code == 404


def test_P_05_a_key_is_bound_to_one_tenant_and_one_user(palette):
    user = palette.person()
    key = user.create()
    verdict = palette.server.verify(key["secret"])
    assert (verdict["tenant"], verdict["subject"]) == (palette.slug, user.id)
    elsewhere = palette.server.call("GET", f"/v1/api_keys/{key['id']}", headers={"Keyreeve-Tenant": "default"})
    unknown = palette.server.call("GET", f"/v1/api_keys/{ZERO}", headers={"Keyreeve-Tenant": "default"})
    assert elsewhere.status_code == unknown.status_code == 404


def test_P_06_the_list_tells_active_from_inactive(palette):
    active = palette.create(description="first", seconds_until_expiration=30 * DAY)
    inactive = palette.create("user_2")
    palette.do(inactive, "revoke")
    rows = {row["id"]: row for row in palette.listed()}
    assert rows[active["id"]]["state"] == "active" and rows[inactive["id"]]["state"] == "disabled"
    assert rows[active["id"]]["description"] == "first" and rows[active["id"]]["subject"] == "user_1"
    assert rows[active["id"]]["expiration"] == active["expiration"]


def test_P_08_reading_and_changing_are_separate_permissions(palette):
    key = palette.create()
    reader = palette.call("POST", "/v1/root_keys", json={"name": "reader", "permissions": ["keys:read"]}).json()
    path = f"/v1/api_keys/{key['id']}"
    assert palette.server.call("GET", path, root_key=reader["secret"]).status_code == 200
    assert palette.server.call("POST", path + "/revoke", root_key=reader["secret"], json={}).status_code == 403


def test_P_09_twenty_keys_a_user_changed_by_the_tenant(palette):
    assert palette.policy()["limit"]["keys_per_subject"] == 20
    for _ in range(20):
        palette.create()
    assert palette.create(status=409)["code"] == "KEY_LIMIT_REACHED"
    palette.call("PUT", "/v1/policy", json={"limit": {"keys_per_subject": 21}})
    palette.create()
    palette.create(status=409)


def test_P_11_the_value_is_shown_once(palette):
    key = palette.create()
    assert key["secret"] not in palette.get(key).text + palette.call("GET", "/v1/api_keys").text


def test_P_12_an_admin_makes_a_key_for_somebody_else(palette):
    user, admin = palette.person(), palette.person("admin")
    key = admin.create(subject=user.id)
    assert palette.use(key["secret"]).json()["subject"] == user.id
    assert user.call("GET", f"/v1/api_keys/{key['id']}").status_code == 200


def test_P_13_edit_changes_name_description_and_expiry_only(palette):
    key = palette.create()
    edit = {"name": "renamed", "description": "new", "seconds_until_expiration": 30 * DAY}
    changed = palette.call("PATCH", f"/v1/api_keys/{key['id']}", json=edit).json()
    assert (changed["name"], changed["description"]) == ("renamed", "new")
    assert changed["expiration"] == changed["updated_at"] + 30 * DAY * 1000
    assert changed["subject"] == key["subject"] and palette.works(key["secret"])
    moved = palette.call("PATCH", f"/v1/api_keys/{key['id']}", json={"subject": "user_2"})
    assert moved.status_code == 400
    value = palette.call("PATCH", f"/v1/api_keys/{key['id']}", json={"secret": "x"})
    assert value.status_code == 400


def test_P_14_delete_removes_the_row(palette):
    key = palette.create()
    assert palette.call("DELETE", f"/v1/api_keys/{key['id']}").json()["deleted"] is True
    assert palette.get(key).status_code == 404 and palette.listed() == []
    assert palette.use(key["secret"]).status_code == 401


def test_P_16_keys_of_removed_users_stop(palette):
    user = palette.person()
    key = user.create()
    assert palette.works(key["secret"])
    removed = palette.call("DELETE", f"/v1/users/{user.id}")
    assert removed.status_code == 200 and removed.json()["effect"]["scope"] == "everywhere"
    assert palette.use(key["secret"]).status_code == 401
    assert palette.server.verify(key["secret"])["reason"] == "owner_blocked"
    assert palette.call("GET", f"/v1/users/{user.id}").status_code == 404


def test_P_20_revoke_asks_for_no_confirmation(palette):
    assert palette.policy()["revoke"]["confirm"] == "none"


def test_P_21_after_revoke_the_key_stays_listed_inactive(palette):
    key = palette.create()
    assert palette.do(key, "revoke")["state"] == "disabled"
    assert [row["state"] for row in palette.listed()] == ["disabled"]


def test_P_22_a_revoked_key_authenticates_nothing(palette):
    key = palette.create()
    palette.do(key, "revoke")
    answer = palette.use(key["secret"])
    assert (answer.status_code, answer.json()["code"]) == (401, "API_KEY_INVALID")


def test_P_23_after_reactivate_the_same_value_works_again(palette):
    key = palette.create()
    palette.do(key, "revoke")
    assert palette.do(key, "reactivate")["state"] == "active"
    assert palette.works(key["secret"])


def test_P_24_an_owner_may_reactivate_what_an_admin_revoked(palette):
    user, admin = palette.person(), palette.person("admin")
    key = user.create()
    path = f"/v1/api_keys/{key['id']}"
    assert admin.call("POST", path + "/revoke", json={}).status_code == 200
    assert user.call("POST", path + "/reactivate", json={}).status_code == 200
    # With `reactivate.sticky` an owner cannot re-activate what an admin revoked.
    assert palette.call("PUT", "/v1/policy", json={"reactivate": {"sticky": True}}).status_code == 200
    assert admin.call("POST", path + "/revoke", json={}).status_code == 200
    assert user.call("POST", path + "/reactivate", json={}).status_code == 403
    assert admin.call("POST", path + "/reactivate", json={}).status_code == 200


def test_P_25_revoke_and_reactivate_repeat_without_limit(palette):
    key = palette.create()
    for _ in range(25):
        palette.do(key, "revoke")
        assert not palette.works(key["secret"])
        palette.do(key, "reactivate")
        assert palette.works(key["secret"])


def test_P_38_no_error_repeats_a_presented_secret(palette):
    key = palette.create()
    palette.do(key, "revoke")
    secret = key["secret"]
    answers = [
        palette.use(secret),
        palette.call("GET", f"/v1/api_keys/{secret}"),
        palette.call("POST", "/v1/verify", json={"key": secret, secret: 1}),
        palette.call("POST", "/v1/api_keys", json={"name": "x", "subject": "s", secret: 1}),
        palette.call("POST", "/v1/api_keys", json={"name": "x", "subject": "s", "type": secret}),
        palette.call("GET", "/v1/api_keys", params={secret: "1"}),
    ]
    for answer in answers:
        assert secret not in answer.text


def test_P_40_every_change_is_logged_with_who_what_and_content(palette):
    admin = palette.person("admin")
    key = admin.create()
    admin.call("POST", f"/v1/api_keys/{key['id']}/revoke", json={"revocation_reason": "left"})
    newest = palette.audit(key_id=key["id"])[0]
    assert newest["actor"] == {"type": "user", "id": admin.id}
    assert newest["target"] == {"type": "key", "id": key["id"]} and newest["action"] == "key.revoked"
    assert newest["before"]["state"] == "active" and newest["after"]["state"] == "disabled"
    assert newest["reason"] == "left" and newest["tenant"] == palette.slug
    assert newest["address"] == "127.0.0.1" and newest["request_id"].startswith("req_")


def test_P_41_the_log_is_filtered_and_paged(palette):
    admin = palette.person("admin")
    keys = [admin.create() for _ in range(3)]
    palette.do(keys[0], "revoke")
    assert {event["target"]["id"] for event in palette.audit(action="key.created")} == {key["id"] for key in keys}
    assert [event["action"] for event in palette.audit(key_id=keys[0]["id"])] == ["key.revoked", "key.created"]
    assert len(palette.audit(actor_id=admin.id)) == 3
    whole = palette.audit(limit=1000)
    paged, query = [], {"limit": 2}
    while True:
        page = palette.call("GET", "/v1/audit_events", params=query).json()
        paged += page["data"]
        if "next_cursor" not in page:
            break
        query["cursor"] = page["next_cursor"]
    assert paged == whole
    assert palette.audit(order="asc", limit=1000) == whole[::-1]
    middle = whole[1]["at"]
    assert all(event["at"] >= middle for event in palette.audit(since=middle))
    assert all(event["at"] < middle for event in palette.audit(until=middle))

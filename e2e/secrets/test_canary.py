"""No secret at rest, in logs, in errors: every byte that the server writes is searched for every secret it received."""
import pathlib

import requests

from harness import Server


def shown_once(server):
    """Makes every call; returns every secret that was issued, and every answer except those that issue one."""
    secrets, answers = [server.root_key], []

    def call(method, path, shows=False, **options):
        answer = server.call(method, path, **options)
        if not shows:
            answers.append(repr(dict(answer.headers)).encode() + answer.content)
        return answer

    key = call("POST", "/v1/api_keys", shows=True, json={"name": "canary", "subject": "user_1"}).json()
    secrets.append(key["secret"])
    path = f"/v1/api_keys/{key['id']}"
    for _ in range(2):
        call("POST", "/v1/verify", json={"key": key["secret"]})
    call("POST", "/v1/verify/batch", json={"items": [{"key": key["secret"]}]})
    call("POST", "/api_keys/verify", json={"secret": key["secret"]})
    for method, end in [("GET", ""), ("GET", "/secret"), ("POST", "/disable"), ("POST", "/reactivate")]:
        call(method, path + end)
    rotated = call("POST", path + "/rotate", shows=True, json={}).json()
    secrets.append(rotated["secret"])
    headers = {"Authorization": f"Bearer {rotated['secret']}"}
    answers.append(requests.get(server.url + "/v1/me", headers=headers).content)
    made = call("POST", "/v1/root_keys", shows=True, json={"name": "r", "permissions": ["keys:read"]}).json()
    secrets.append(made["secret"])
    call("GET", "/v1/root_keys")
    tenant = call("POST", "/v1/tenants", shows=True, json={"slug": "t", "name": "T"}).json()
    secrets.append(tenant["root_key"]["secret"])
    call("GET", "/v1/tenants")
    # Secrets in wrong places: as a name, a field, a path, a query, a wrong type, a broken body.
    live = rotated["secret"]
    for body in [{"name": live}, {live: 1}, {"name": {live: live}}, {"name": "x", "subject": "s", "type": live},
                 {"name": "x", "subject": "s", "seconds_until_expiration": live}, [live], live]:
        call("POST", "/v1/api_keys", json=body)
        call("POST", "/v1/verify", json=body)
    call("POST", "/v1/api_keys", data='{"name":"' + live, headers={"Content-Type": "application/json"})
    call("GET", f"/v1/api_keys/{live}")
    call("GET", f"/{live}")
    call("GET", f"/v1/api_keys?subject={live}&{live}=1")
    call("GET", "/v1/api_keys", root_key=live)
    call("POST", "/v1/verify", json={"key": live[:-1] + "!"})
    call("POST", path + "/revoke", json={"revocation_reason": "over"})
    call("POST", "/v1/verify", json={"key": live})
    call("DELETE", path)
    return secrets, answers


def assert_clean(what, text, secrets):
    for place, secret in enumerate(secrets):
        assert secret.encode() not in text, f"secret {place} is in {what}"
        # The random part alone would be just as bad.
        assert secret.split("_kr1")[1][:43].encode() not in text, f"the payload of secret {place} is in {what}"


def test_no_secret_is_in_anything_that_is_kept_logged_or_answered_again():
    server = Server(arguments=["--log", "debug"])
    try:
        secrets, answers = shown_once(server)
        for answer in answers:
            assert_clean("an answer", answer, secrets)
        # Once while the WAL of the database still exists, once after its checkpoint.
        for stopped in [False, True]:
            if stopped:
                assert server.stop() == 0
            for path in pathlib.Path(server.data).rglob("*"):
                if path.is_file():
                    assert_clean(path.name, path.read_bytes(), secrets)
        assert_clean("standard error", server.stderr().encode(), secrets)
        assert server.stdout.count(secrets[0].encode()) == 1
        assert_clean("standard output", server.stdout.replace(secrets[0].encode(), b""), secrets[1:])
        assert len(server.stderr().splitlines()) > 20, "nothing was logged, so nothing was searched"
    finally:
        server.close()

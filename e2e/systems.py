"""A tenant that behaves as one of the systems, and its users."""
import itertools

import requests

from harness import assert_error  # noqa: F401  (used by the suites)

NUMBERS = itertools.count()
DAY = 86_400


class Person:
    """A user of the tenant; calls are authorised by the user's role."""

    def __init__(self, system, role):
        answer = system.call("POST", "/v1/users", json={"email": f"p{next(NUMBERS)}@example.com", "role": role})
        assert answer.status_code == 201, answer.text
        self.system, self.id = system, answer.json()["id"]

    def call(self, method, path, **options):
        return self.system.call(method, path, headers={"Keyreeve-Act-As": self.id}, **options)

    def create(self, subject=None, status=201, **fields):
        body = {"name": f"key {next(NUMBERS)}", "subject": subject or self.id, **fields}
        answer = self.call("POST", "/v1/api_keys", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()


class System:
    """A tenant under a preset, with its own root key."""

    def __init__(self, server, preset, **policy):
        self.server = server
        self.slug = f"{preset}-{next(NUMBERS)}"
        wish = {"slug": self.slug, "name": preset, "preset": preset}
        made = server.call("POST", "/v1/tenants", json=wish).json()
        self.root_key = made["root_key"]["secret"]
        if policy:
            answer = self.call("PUT", "/v1/policy", json=policy)
            assert answer.status_code == 200, answer.text

    def call(self, method, path, **options):
        return self.server.call(method, path, root_key=self.root_key, **options)

    def person(self, role="member"):
        return Person(self, role)

    def create(self, subject="user_1", status=201, **fields):
        body = {"name": f"key {next(NUMBERS)}", "subject": subject, **fields}
        answer = self.call("POST", "/v1/api_keys", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def do(self, key, verb, body=None, status=200):
        answer = self.call("POST", f"/v1/api_keys/{key['id']}/{verb}", json=body or {})
        assert answer.status_code == status, answer.text
        return answer.json()

    def get(self, key):
        return self.call("GET", f"/v1/api_keys/{key['id']}")

    def listed(self, **query):
        return self.call("GET", "/v1/api_keys", params={"limit": 100, **query}).json()["data"]

    def use(self, secret):
        """A call to the API that accepts the key: its answer, with status and code."""
        headers = {"Authorization": f"Bearer {secret}"} if secret is not None else {}
        return requests.get(self.server.url + "/v1/me", headers=headers, timeout=30)

    def works(self, secret):
        return self.use(secret).status_code == 200

    def policy(self):
        return self.call("GET", "/v1/policy").json()

    def audit(self, **query):
        return self.call("GET", "/v1/audit_events", params=query).json()["data"]

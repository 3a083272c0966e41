"""RFC 8414 and RFC 9728: discovery."""
import subprocess

import pytest
import requests

from harness import BINARY, Server, assert_error

class Everywhere(Server):
    """A server with a public address."""

    def start(self):
        name = self.data + "/keyreeve.toml"
        with open(name, "w", encoding="utf-8") as file:
            file.write('listen = "0.0.0.0:0"\n')
        command = [BINARY, "serve", "--data", self.data, "--config", name, *self.arguments]
        command += ["--check-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]
        self.launch(command)


DOCUMENTS = ["/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource"]


def test_the_documents_say_what_there_is(server):
    metadata = requests.get(server.url + DOCUMENTS[0])
    assert metadata.status_code == 200 and metadata.headers["Content-Type"] == "application/json"
    assert metadata.json() == {
        "issuer": server.url,
        "response_types_supported": [],
        "grant_types_supported": [],
        "introspection_endpoint": server.url + "/oauth2/introspect",
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "Bearer"],
        "revocation_endpoint": server.url + "/oauth2/revoke",
        "revocation_endpoint_auth_methods_supported": ["none"],
    }
    resource = requests.get(server.url + DOCUMENTS[1]).json()
    assert resource == {
        "resource": server.url,
        "authorization_servers": [server.url],
        "bearer_methods_supported": ["header"],
        "resource_name": "Keyreeve",
    }
    for place in ["introspection_endpoint", "revocation_endpoint"]:
        assert requests.post(metadata.json()[place], data={"token": "x"}).status_code in (200, 401)


@pytest.mark.parametrize("path", DOCUMENTS)
@pytest.mark.parametrize("header", ["Host", "X-Forwarded-Host", "Forwarded", "X-Forwarded-Proto"])
def test_no_request_chooses_where_clients_go_with_their_keys(server, path, header):
    answer = requests.get(server.url + path, headers={header: "evil.example"})
    assert answer.status_code == 200 and "evil" not in answer.text


def test_a_server_without_an_issuer_publishes_no_metadata():
    server = Everywhere()
    try:
        url = server.url.replace("0.0.0.0", "127.0.0.1")
        for path in DOCUMENTS:
            answer = requests.get(url + path, headers={"Accept": "text/html"})
            assert "public_url" in assert_error(answer, 404, "NOT_FOUND")["detail"]
        key = requests.post(url + "/v1/api_keys", headers={"Authorization": f"Bearer {server.root_key}"},
                            json={"name": "x", "subject": "s"}).json()
        body = requests.post(url + "/oauth2/introspect", headers={"Authorization": f"Bearer {server.root_key}"},
                             data={"token": key["secret"]}).json()
        assert body["active"] is True and "iss" not in body
    finally:
        server.close()


@pytest.mark.parametrize("path", DOCUMENTS)
def test_the_metadata_accepts_only_reads(server, path):
    assert_error(requests.post(server.url + path), 405)
    assert requests.head(server.url + path).status_code == 200
    assert_error(requests.get(server.url + path + "/deeper"), 404)


@pytest.mark.parametrize("arguments, named", [
    (["--public-url", "http://keys.example.com"], "public"),
    (["--public-url", "https://keys.example.com/path"], "public"),
    (["--introspection-max-exp", "0s"], "1s to 1h"),
    (["--introspection-max-exp", "2h"], "1s to 1h"),
])
def test_a_wrong_setting_is_refused_at_the_start(arguments, named, tmp_path):
    run = subprocess.run([BINARY, "serve", "--data", str(tmp_path), *arguments], capture_output=True, text=True,
                         timeout=20, check=False)
    assert run.returncode == 2 and named in run.stderr, run.stderr

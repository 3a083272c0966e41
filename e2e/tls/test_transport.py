"""Browsers that connected by TLS must not connect without it (HSTS, RFC 6797)."""
import requests

from harness import Server

HEADER = "Strict-Transport-Security"


def test_every_answer_by_tls_has_hsts_and_none_without(secure, fresh):
    for path, root_key in [("/login", None), ("/v1/api_keys", None), ("/v1/api_keys", "nonsense"), ("/nothing", None),
                           ("/openapi.json", None)]:
        assert secure.call("GET", path, root_key=root_key).headers[HEADER] == "max-age=31536000", path
        assert HEADER not in fresh.call("GET", path, root_key=root_key).headers, path
    for server, said in [(secure, "max-age=31536000"), (fresh, None)]:
        for _ in range(2):
            answer = server.call("POST", "/v1/verify", json={"key": "ak_kr1nothing"})
            assert (answer.status_code, answer.headers.get(HEADER)) == (200, said)


def test_behind_a_proxy_a_public_https_address_adds_hsts():
    server = Server(arguments=["--public-url", "https://keys.example.com"])
    try:
        assert requests.get(server.url + "/login", timeout=30).headers[HEADER] == "max-age=31536000"
        assert HEADER not in requests.get(server.ops + "/livez", timeout=30).headers
    finally:
        server.close()

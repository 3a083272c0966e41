"""G-13: a policy that requires a credential of the gateway, and how each gateway sends one, as in the guides."""
import pathlib

import pytest
from harness import Server
from real import Echo, Gateway, Http, bearer

# By gateway: the file, the text in it, and its replacement.
SHOWN = {
    "nginx": ("nginx.conf", 'proxy_set_header X-Keyreeve-Gateway "";\n            # If Keyreeve',
              'proxy_set_header X-Keyreeve-Gateway "{0}";\n            # If Keyreeve'),
    "caddy": ("Caddyfile", "uri /gateway/caddy/private?", "uri /gateway/caddy/private?\n\t\t\theader_up X-Keyreeve-Gateway {0}"),
    "traefik": ("traefik-keyreeve.yml", "middlewares: [keyreeve, without-key]\n", "middlewares: [credential, keyreeve, without-key]\n"),
    "envoy": ("envoy.yaml", "initial_metadata:\n", "initial_metadata:\n                          - {{ key: x-keyreeve-gateway, value: \"{0}\" }}\n"),
    "envoy-http": ("envoy-http.yaml", "                        authorization_response:\n",
                   "                        authorization_request:\n                          headers_to_add:\n"
                   "                            - {{ key: x-keyreeve-gateway, value: \"{0}\" }}\n"
                   "                        authorization_response:\n"),
    "haproxy": ("keyreeve.lua", "local gateway_credential = nil", 'local gateway_credential = "{0}"'),
}
TRAEFIK = ("  middlewares:\n", "  middlewares:\n    credential:\n      headers:\n        customRequestHeaders:\n"
           "          X-Keyreeve-Gateway: \"{0}\"\n")


@pytest.fixture(scope="module")
def world():
    server, api = Server(), Http(Echo)
    server.call("POST", "/v1/check_policies", json={"name": "private", "gateway_credential": "required"})
    yield server, api
    api.close()
    server.close()


@pytest.mark.parametrize("kind", list(SHOWN))
def test_without_the_gateways_credential_every_request_is_denied(world, kind):
    server, api = world
    wish = {"name": "gateway", "permissions": ["keys:verify"], "tenant": "default"}
    root_key = server.call("POST", "/v1/root_keys", json=wish).json()["secret"]
    key = server.create(name=f"behind {kind}", subject="user_1")["secret"]

    def shown(directory):
        file, before, after = SHOWN[kind]
        path = pathlib.Path(directory, file)
        text = path.read_text()
        assert before in text
        text = text.replace(before, after.format(root_key), 1)
        if kind == "traefik":
            text = text.replace(TRAEFIK[0], TRAEFIK[1].format(root_key), 1)
        path.write_text(text)

    check = server.addresses["check_listen"]
    for change, status in ((None, 403), (shown, 200)):
        gateway = Gateway(kind, check, api.address, "private", change)
        try:
            answer = gateway.ask("/orders", [bearer(key)])
            # A credential that a client sends is not the gateway's.
            forged = gateway.ask("/orders", [bearer(key), ("X-Keyreeve-Gateway", "forged")])
        finally:
            gateway.close()
        assert answer.status == status, answer
        assert forged.status == status, forged
        if status == 200:
            assert root_key not in str(answer.seen()) and "forged" not in str(forged.seen())

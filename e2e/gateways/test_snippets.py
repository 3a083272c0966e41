"""`keyreeve gateways snippet` prints the files of deploy/gateways, which the other tests run."""
import pathlib
import subprocess

import pytest
from harness import BINARY
from real import GATEWAYS

FILES = pathlib.Path(__file__).resolve().parent.parent.parent / "deploy/gateways"
OF = {"nginx": ["nginx.conf"], "caddy": ["Caddyfile"], "traefik": ["traefik.yml", "traefik-keyreeve.yml"],
      "envoy": ["envoy.yaml"], "envoy-http": ["envoy-http.yaml"], "haproxy": ["haproxy.cfg", "keyreeve.lua"]}


def snippet(*arguments):
    return subprocess.run([BINARY, "gateways", "snippet", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", list(GATEWAYS))
def test_the_files_are_printed_as_they_are(kind, tmp_path):
    texts = [(FILES / name).read_text() for name in OF[kind]]
    printed = snippet(kind).stdout
    if len(texts) == 1:
        assert printed == texts[0]
    for name, text in zip(OF[kind], texts):
        assert text.rstrip() in printed and (len(texts) == 1 or f"==> {name} <==\n" in printed)
    assert snippet(kind, "--into", str(tmp_path)).returncode == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict(zip(OF[kind], texts))
    refused = snippet(kind, "--into", str(tmp_path))
    assert refused.returncode == 2, "nothing that is there is written over"


def test_every_file_belongs_to_a_snippet():
    assert {path.name for path in FILES.iterdir()} == {name for names in OF.values() for name in names}


@pytest.mark.parametrize("arguments", [
    ["apache"], ["nginx", "--policy", "a;b"], ["nginx", "--check", "host"], ["nginx", "--upstream", "a b:1"], [],
])
def test_what_does_not_fit_is_wrong_usage(arguments):
    assert snippet(*arguments).returncode == 2

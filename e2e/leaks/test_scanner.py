"""`keyreeve scanner`: the rules find keys, with the real gitleaks and the real detect-secrets."""
import json
import pathlib
import subprocess
import sys

import pytest
import yaml

from github import with_checksum
from harness import BINARY

TOOLS = pathlib.Path(sys.executable).parent


def rules(*arguments):
    run = subprocess.run([BINARY, "scanner", *arguments], capture_output=True, text=True, timeout=20, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def keys(server):
    """Real keys of several tenants, and a root key."""
    secrets = [server.root_key, server.create("scanned")["secret"]]
    for slug, prefix in [("acme", "acme_live"), ("userplane", "uspl"), ("long", "abcdefghijklmnop_abcdefghijklmno")]:
        server.call("POST", "/v1/tenants", json={"slug": slug, "name": slug})
        headers = {"Keyreeve-Tenant": slug}
        assert server.call("PUT", "/v1/policy", headers=headers, json={"prefix": prefix}).status_code == 200
        wish = {"name": "x", "subject": "s"}
        secrets.append(server.call("POST", "/v1/api_keys", headers=headers, json=wish).json()["secret"])
        assert secrets[-1].startswith(prefix + "_kr1")
    return secrets


@pytest.fixture(scope="module")
def near_misses(keys):
    """Texts that only look like a key; the last two have its form, but not its checksum."""
    key = keys[1]
    return [key[:-1], key + "x", key.upper(), key.replace("_kr1", "_kr2"), key.replace("_kr1", "kr1"), "1" + key,
            key.replace("ak_", "a_"), "_kr1" + "0" * 49], [key[:-1] + ("x" if key[-1] != "x" else "y"), "ak_kr1" + "0" * 49]


@pytest.fixture(scope="module")
def tree(keys, near_misses, tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    (root / "src").mkdir()
    forms = ['API_KEY="{}"', "curl -H 'Authorization: Bearer {}'", '{{"note": "use {} for now"}}',
             "2026-01-01 12:00:00 denied {} from 192.0.2.1", "https://user:{}@example.com/"]
    for place, (key, form) in enumerate(zip(keys, forms)):
        (root / "src" / f"file_{place}.txt").write_text(f"line\n{form.format(key)}\n")
    (root / "near.txt").write_text("\n".join(near_misses[0]) + "\n")
    (root / "form.txt").write_text("\n".join(near_misses[1]) + "\n")
    return root


def gitleaks(tree, configuration, folder):
    report = folder / "report.json"
    run = subprocess.run(
        [TOOLS / "gitleaks", "dir", tree, "--config", configuration, "--report-path", report, "--report-format", "json",
         "--exit-code", "0", "--no-banner"], capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return {finding["Secret"] for finding in json.loads(report.read_text())}


def test_gitleaks_finds_every_key_whatever_its_prefix_and_nothing_else(keys, near_misses, tree, tmp_path):
    configuration = tmp_path / "keyreeve.toml"
    configuration.write_text(rules("gitleaks"))
    # A pattern cannot check a checksum: text with the complete form of a key is found as well.
    assert gitleaks(tree, configuration, tmp_path) == {*keys, *near_misses[1]}


def test_a_rule_for_one_prefix_finds_that_prefix_alone(keys, tree, tmp_path):
    configuration = tmp_path / "keyreeve.toml"
    configuration.write_text(rules("gitleaks", "--prefix", "acme_live"))
    assert gitleaks(tree, configuration, tmp_path) == {key for key in keys if key.startswith("acme_live_")}


def test_detect_secrets_finds_exactly_the_keys(keys, tree, tmp_path):
    """Its plugin is code and checks the checksum."""
    plugin = tmp_path / "keyreeve.py"
    plugin.write_text(rules("detect-secrets"))
    run = subprocess.run([TOOLS / "detect-secrets", "scan", "--all-files", "-p", plugin, tree], capture_output=True,
                         text=True, timeout=120, check=False, cwd=tree)
    assert run.returncode == 0, run.stderr
    found = [entry for entries in json.loads(run.stdout)["results"].values() for entry in entries]
    ours = {(pathlib.Path(entry["filename"]).name, entry["line_number"]) for entry in found
            if entry["type"] == "Keyreeve API key"}
    assert ours == {(f"file_{place}.txt", 2) for place in range(len(keys))}


def test_trufflehogs_detector_and_githubs_pattern_have_their_form(keys, near_misses):
    import re

    (detector,) = yaml.safe_load(rules("trufflehog"))["detectors"]
    assert detector["name"] == "Keyreeve" and detector["keywords"] == ["_kr1"]
    pattern = re.compile(detector["regex"]["key"])
    assert all(pattern.fullmatch(key) for key in keys) and not any(map(pattern.fullmatch, near_misses[0]))
    custom = yaml.safe_load(rules("github"))
    assert set(custom) == {"pattern_name", "secret_format", "before_secret", "after_secret", "test_string"}
    assert all(re.fullmatch(custom["secret_format"], key) for key in keys)
    assert re.fullmatch(custom["secret_format"], custom["test_string"])
    assert custom["test_string"] == with_checksum(custom["test_string"][:-6])


@pytest.mark.parametrize("arguments, why", [
    (["gitleaks", "--prefix", "A.*"], "a prefix is"), (["gitleaks", "--prefix", "kr_root"], "own credentials"),
    (["nobody"], "possible values"), ([], "required"),
])
def test_an_invalid_argument_is_refused(arguments, why):
    run = subprocess.run([BINARY, "scanner", *arguments], capture_output=True, text=True, timeout=20, check=False)
    assert run.returncode == 2 and why in run.stderr, run.stderr

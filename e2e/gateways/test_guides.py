"""The guides: their commands are run unchanged, and their quotations are in the files."""
import os
import pathlib
import re
import signal
import subprocess

import pytest
from harness import BINARY, Server
from real import SYSTEM_PATH, WHEELS, Echo, Http, free_port

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
GUIDES = ROOT / "docs/guides/gateways"
FILES = ROOT / "deploy/gateways"
NAMES = sorted(path.stem for path in GUIDES.glob("*.md") if path.stem != "README")


def blocks(name):
    """Language and text of every block of a guide."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", (GUIDES / f"{name}.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_of_a_guide_do_what_it_says(name, tmp_path):
    server, api = Server(), Http(Echo)
    script = "\n".join(text for language, text in blocks(name) if language == "sh")
    expected = re.findall(r"# (\d{3})$", script, re.MULTILINE)
    assert len(expected) >= 5
    gateway = f"127.0.0.1:{free_port()}"
    # Only the addresses are changed by the test.
    wishes = f"--check {server.addresses['check_listen']} --upstream {api.address} --listen {gateway}"
    script = script.replace("--into", f"{wishes} --into").replace("127.0.0.1:8000", gateway)
    script = script.replace("http://127.0.0.1:7300", server.url)
    (tmp_path / "keyreeve").symlink_to(BINARY)
    path = f"{tmp_path}:{WHEELS}:{SYSTEM_PATH}"
    environment = {**os.environ, "PATH": path, "KEYREEVE_URL": server.url, "KEYREEVE_ROOT_KEY": server.root_key,
                   "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    shell = subprocess.Popen(["bash", "-eu", "-c", script + "\nexit 0"], cwd=tmp_path, env=environment, text=True,
                             stdout=subprocess.PIPE, stderr=(tmp_path / "log").open("w"), start_new_session=True)
    try:
        codes = [shell.stdout.readline().strip() for _ in expected]
    finally:
        # The gateway that the script has started ends with it.
        os.killpg(shell.pid, signal.SIGTERM)
        shell.wait()
        api.close()
        server.close()
    assert codes == expected, (tmp_path / "log").read_text()[-3000:]


@pytest.mark.parametrize("name", NAMES)
def test_what_a_guide_quotes_is_in_the_files(name):
    files = "\n".join(path.read_text() for path in FILES.iterdir())
    quoted = [text for language, text in blocks(name) if language != "sh"]
    assert quoted
    for text in quoted:
        assert text in files, text


def test_every_gateway_has_its_guide_and_the_table_names_the_versions():
    assert NAMES == ["caddy", "envoy", "haproxy", "nginx", "traefik"]
    overview = (GUIDES / "README.md").read_text()
    for name in NAMES:
        assert f"]({name}.md)" in overview

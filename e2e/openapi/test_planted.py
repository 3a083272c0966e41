"""Every promise of SECURITY.md has a planted fault, and every planted fault still applies."""
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_every_promise_has_a_fault_that_its_test_must_find():
    rows = re.findall(r"^\| (.+?) \| .+? \| .+? \|$", (ROOT / "SECURITY.md").read_text(), re.M)
    promises = set(rows) - {"promise", "---"}
    planted = {re.search(r"^Promise: (.+)$", patch.read_text(), re.M)[1]
               for patch in (ROOT / "e2e/planted").glob("*.patch")}
    assert promises == planted
    done = subprocess.run([ROOT / "scripts/plant-faults", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

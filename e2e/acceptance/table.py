"""Runs the acceptance suite and writes docs/acceptance.md: row, test, state. test_table.py compares the two."""
import collections
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as xml

from rows import ROWS

HERE = pathlib.Path(__file__).resolve().parent
TABLE = HERE.parent.parent / "docs/acceptance.md"
SYSTEMS = {"U": "Userplane: preset `erase`, prefix `uspl`", "P": "Spectro Cloud Palette: preset `hold`",
           "H": "Hyperspell: preset `keep`"}
STATES = {"elsewhere": "in another suite", "later": "not yet", "never": "not ours"}
DASHBOARD = HERE.parent / "dashboard"


def named_tests():
    """Returns the test of each row, from the source."""
    found = {}
    for path in sorted(HERE.glob("test_*.py")):
        for name in re.findall(r"^def (test_[UPH]_\d+\w*)", path.read_text(), re.MULTILINE):
            row = "-".join(name.split("_")[1:3])
            assert row not in found, f"two tests for {row}"
            found[row] = (path.name, name)
    return found


def walkthroughs():
    """Returns the browser test of each row, from the source: a test's title has the rows that it covers."""
    found = {}
    for path in sorted(DASHBOARD.glob("*.test.mjs")):
        for title in re.findall(r"""^ *test\(['`](.*?)['`], async""", path.read_text(), re.MULTILINE):
            for row in re.findall(r"\b[UPH]-\d+\b", title):
                found.setdefault(row, (path.name, title))
    return found


def results(report):
    """Returns the result of each test of a JUnit report."""
    cases = xml.parse(report).iter("testcase")
    return {case.get("name"): "passed" if not len(case.findall("failure") + case.findall("error")) else "FAILED"
            for case in cases}


def text(states):
    named, walked = named_tests(), walkthroughs()
    counts = collections.Counter(where for _, where, _ in ROWS)
    lines = [
        "# What Keyreeve can be", "",
        "One row of public behaviour each, and its test over HTTP. Written by "
        "`e2e/acceptance/table.py`; Clerk's wire is tested with its own SDKs in `e2e/clerk-js` and "
        "`e2e/clerk-python`, the dashboard in a real Chromium by `e2e/dashboard`.", "",
        f"{counts['api']} rows are tested over HTTP, {len(walked)} in the browser ({counts['dashboard']} of them only "
        f"there), {counts['elsewhere']} in another suite, {counts['later']} are not implemented yet, {counts['never']} are "
        f"not ours.", "",
    ]
    for letter, title in SYSTEMS.items():
        lines += [f"## {title}", "", "| row | behaviour | test | in the browser | state |", "|---|---|---|---|---|"]
        for row, where, behaviour in (row for row in ROWS if row[0].startswith(letter)):
            file, name = named.get(row, ("", ""))
            test = f"`{file}` `{name}`" if name else ""
            browser = "`{}`".format(walked[row][0]) if row in walked else ""
            state = STATES.get(where) or states.get(name, "passed")
            lines.append(f"| {row} | {behaviour} | {test} | {browser} | {state} |")
        lines.append("")
    return "\n".join(lines)


def main():
    report = HERE.parent / ".cache/acceptance.xml"
    report.parent.mkdir(exist_ok=True)
    run = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:schemathesis",
                          f"--junit-xml={report}", HERE], cwd=HERE.parent, check=False)
    TABLE.write_text(text(results(report)))
    return run.returncode


if __name__ == "__main__":
    sys.exit(main())

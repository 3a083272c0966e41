"""Every command in a document is run unchanged (documents.py has the rules)."""
import os
import pathlib
import subprocess
import tempfile
import tomllib

import pytest

from documents import ROOT, Unsound, blocks_of, commands, paths
from harness import BINARY
from session import Session

DOCUMENTS = [path for path in paths() if commands(path)]


@pytest.mark.parametrize("path", paths(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_is_run_or_has_a_reason_not_to(path):
    blocks_of(path.read_text(), str(path.relative_to(ROOT)))


@pytest.mark.parametrize("text, why", [
    ("```\nls\n```\n", "what is none says what it is"),
    ("```console\n$ ls\n```\n", "what is none says what it is"),
    ("```sh\n$ ls\n```\n", "a prompt"),
    ("```sh\nkeyreeve keys revoke ak_…\n```\n", "filled in"),
    ("```sh\nkeyreeve keys revoke <KEY>\n```\n", "filled in"),
    ("<!-- not run: -->\n```sh\nls\n```\n", "give a reason"),
    ("<!-- not run -->\n```sh\nls\n```\n", "give a reason"),
    ("<!-- not run: no -->\n\ntext\n```sh\nls\n```\n", "above no block"),
    ("<!-- not run: no -->\n```json\n{}\n```\n", "no commands"),
    ("```sh\nls\n", "whole blocks"),
])
def test_a_block_that_is_neither_run_nor_marked_with_a_reason_is_found(text, why):
    with pytest.raises(Unsound, match=why):
        blocks_of(text, "x.md")


def test_marks_and_expected_output_of_a_block_are_parsed():
    text = ("<!-- not run: it is a picture -->\n```sh\nls\n```\n\n<!-- first: touch a\ntouch b -->\n<!-- exit codes: 0 3 -->\n"
            "```sh\ncurl x   # 401\n# 202 {\"a\":1,…}\n```\n\n```sh\ncargo run --release -- serve   # x\n```\n")
    picture, checked, server = blocks_of(text, "x.md")
    assert picture.reason == "it is a picture" and not picture.is_server
    assert checked.first == "touch a\ntouch b" and checked.codes == (0, 3)
    assert checked.statuses == ["401"] and checked.outputs == [['{"a":1,', "}"]]
    assert server.is_server and server.line == 14


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """One path for all documents of a run, in turn, and never that of an earlier run: cargo identifies a build by
    its path."""
    return pathlib.Path(tempfile.mkdtemp(prefix="keyreeve-documents-", dir=tmp_path_factory.getbasetemp())) / "session"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_commands_of_a_document_work_unchanged(path, place):
    blocks = [block for block in commands(path) if block.reason is None]
    if not blocks:
        return
    session = Session(blocks, place)
    try:
        session.run()
    finally:
        session.close()


SETTINGS = [block for path in paths() for block in blocks_of(path.read_text(), str(path.relative_to(ROOT)))
            if block.language == "toml"]


@pytest.mark.parametrize("block", SETTINGS, ids=lambda block: block.name)
def test_settings_of_a_document_are_accepted_unchanged(block, tmp_path):
    assert tomllib.loads(block.text)
    (tmp_path / "keyreeve.toml").write_text(block.text)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KEYREEVE_")}
    # It reads the file before anything else, and then reports findings about an empty directory, or none.
    done = subprocess.run([BINARY, "doctor", "--config", "keyreeve.toml", "--data", str(tmp_path / "data")], cwd=tmp_path,
                          env=clean, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode in (0, 3), done.stderr

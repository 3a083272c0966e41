"""Parses the fenced blocks of the documents, and the marks above them.

A block of commands (`sh`) is run by this suite, word for word, unless a comment right above it has a reason not to:

    <!-- not run: needs a machine with systemd -->

Other marks, also right above a block of commands:

    <!-- first: COMMANDS -->          run before the block, not shown to readers: a set-up that a fresh machine lacks
    <!-- exit codes: 0 3 -->          exit codes that a command of the block may have; by default only 0

All blocks of a document run in its order, in one shell, in a fresh clone of the repository, with `keyreeve` in PATH, a
fresh server on the default addresses whose data is in ./keyreeve-data, its root key in KEYREEVE_ROOT_KEY, its address in
KEYREEVE_URL, and an API on 127.0.0.1:8080. A block that runs `serve` or `dev` replaces that server for all blocks after it:
the suite stops the one before, waits until the new one reports that it is ready, and stops it at the end.

Expected output is compared: `# 401` at the end of a line is what the command prints, and a line
`# {"valid":true,…}` must be in the output, where each `…` matches any text.
"""
import dataclasses
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
COMMANDS = {"sh"}
# Configuration, code, or output of other programs.
OTHERS = {"apache", "js", "json", "nginx", "rust", "text", "toml", "yaml", "caddy", "haproxy"}
MARK = re.compile(r"<!--\s*(not run|first|exit codes)\b:?(.*?)-->", re.DOTALL)
FENCE = re.compile(r"^(?P<marks>(?:<!--(?:(?!-->).)*-->\s*\n)*)(?P<indent> *)```(?P<language>[^\n`]*)\n(?P<text>.*?)^ *```[ ]*$",
                   re.MULTILINE | re.DOTALL)
LONG_RUNNING = re.compile(r"(?:^|&&|;)\s*(?:keyreeve|cargo run\b[^\n#]*? --)\s+(serve|dev)\b", re.MULTILINE)
KEYREEVE_TOML = {"tls_cert", "public_url", "introspection", "leaks"}


class Unsound(Exception):
    """A document breaks the rules above."""


@dataclasses.dataclass
class Block:
    document: str
    line: int
    language: str
    text: str
    first: str = ""
    reason: str | None = None
    codes: tuple = (0,)

    @property
    def name(self):
        return f"{self.document}:{self.line}"

    @property
    def is_server(self):
        return bool(LONG_RUNNING.search(self.text))

    @property
    def statuses(self):
        """Statuses that lines of the block expect, in order."""
        return re.findall(r"\s# (\d{3})$", self.text, re.MULTILINE)

    @property
    def outputs(self):
        """Expected output, as the parts between two `…`."""
        lines = re.findall(r"^# (?:\d{3} )?(\{.*)$", self.text, re.MULTILINE)
        return [line.split("…") for line in lines]


def paths(root=ROOT):
    """Every document that readers copy commands from. The error pages have no commands."""
    found = [root / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "ARCHITECTURE.md", "bench/README.md")]
    return found + sorted((root / "docs").rglob("*.md"))


def marks(text, where):
    """The marks above a block."""
    found = {}
    for kind, rest in MARK.findall(text):
        if kind in found:
            raise Unsound(f"{where}: two marks {kind!r}")
        if not rest.strip():
            raise Unsound(f"{where}: the mark {kind!r} says nothing: give a reason")
        found[kind] = rest.strip()
    return found


def blocks_of(text, document):
    """The blocks of a document. Raises `Unsound` for one that is neither run nor marked with a reason."""
    found, used = [], []
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start("indent")) + 1
        where, language = f"{document}:{line}", match["language"].strip()
        marked = marks(match["marks"], where)
        used += list(marked)
        if language not in COMMANDS | OTHERS:
            raise Unsound(f"{where}: a block of {language!r}: commands are `sh`, and what is none says what it is ({', '.join(sorted(OTHERS))})")
        if marked and language not in COMMANDS:
            raise Unsound(f"{where}: a mark above a block that has no commands")
        if re.search(r"^\s*\$ ", match["text"], re.MULTILINE) and language in COMMANDS:
            raise Unsound(f"{where}: a prompt cannot be copied")
        indent = len(match["indent"])
        body = "".join(one[indent:] if one.strip() else one for one in match["text"].splitlines(keepends=True))
        codes = tuple(int(code) for code in marked.get("exit codes", "0").split())
        found.append(Block(document, line, language, body, marked.get("first", ""), marked.get("not run"), codes))
    fences = len(re.findall(r"^ *```", text, re.MULTILINE))
    if fences != 2 * len(found):
        raise Unsound(f"{document}: {fences} fences are not {len(found)} whole blocks")
    if len(MARK.findall(text)) != len(used):
        raise Unsound(f"{document}: a mark stands above no block")
    for block in found:
        if block.language in COMMANDS and block.reason is None and re.search(r"…|<[A-Z_]+>|\bkr_root_kr1\.", strip_comments(block)):
            raise Unsound(f"{block.name}: something to be filled in cannot be copied: let an earlier line set a variable")
    return found


def strip_comments(block):
    return re.sub(r"(^|\s)#.*$", "", block.text, flags=re.MULTILINE)


def commands(path, root=ROOT):
    """The blocks of a document that hold commands."""
    return [block for block in blocks_of(path.read_text(), str(path.relative_to(root))) if block.language in COMMANDS]

"""Runs the blocks of a document in their own network namespace and directory."""
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time

from documents import ROOT
from harness import BINARY

WHEELS = pathlib.Path(sys.executable).parent
# Time limit of one block. Blocks that build take longest.
BLOCK_SECONDS = 1_200
BEGAN = time.time()
HOSTS = "127.0.0.1 localhost keys.example.com keys.example db.example\n::1 localhost\n"
# `--release` is built as the tests build it (tested.toml), so that the libraries are built already, and the workspace's own
# crates without the optimizer, which is faster. The commands stay those of the document; all other suites test the optimized
# build.
MEMBERS = ("keyreeve", *(f"keyreeve-{crate}" for crate in ("api", "authority", "client", "core", "dashboard", "server", "sim", "store",
                                                     "web")))
PROFILE = (ROOT / "e2e/tested.toml").read_text() + "".join(f"{member}.opt-level = 0\n" for member in MEMBERS)
GIT = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}

# A separate network. Writes into the machine's directories go to an overlay that no other process sees and that is dropped.
APART = ("ip link set lo up; mount -t tmpfs none /mnt; chmod 711 /mnt; for place in etc var/lib usr/local; do "
         "mkdir -p /mnt/over/$place /mnt/work/$place; mount -t overlay overlay "
         "-o lowerdir=/$place,upperdir=/mnt/over/$place,workdir=/mnt/work/$place /$place; done")

# Runs in the shell of a document. Descriptor 3 is for the test.
PRELUDE = r"""
set -o pipefail
allowed=0
failed() {
    case " $allowed " in *" $1 "*) ;; *) echo "$current: a command ended with $1: $2" >&2; stop_server; exit 1 ;; esac
}
trap 'failed $? "$BASH_COMMAND"' ERR
server=
stop_server() {
    [ -n "$server" ] || return 0
    kill -INT -- "-$server" 2>/dev/null || true
    for _ in $(seq 400); do kill -0 -- "-$server" 2>/dev/null || break; sleep 0.05; done
    server=
}
# Runs a file of commands as a server, in its own process group, until it reports that it is ready.
start_server() {
    stop_server
    set -m; ( bash -eu "$1" ) >"$2" 2>>"$2.log" & server=$!; set +m
    until grep -qsE '^ready$|Ctrl-C ends it' "$2"; do
        kill -0 "$server" 2>/dev/null || { cat "$2" "$2.log" >&2; echo "$current: the server ended" >&2; exit 1; }
        sleep 0.1
    done
}
# The server that a document finds, unless it runs one of its own.
default_server() {
    start_server "$BASE/server.sh" "$BASE/server.out"
}
trap 'stop_server; kill $(jobs -p) 2>/dev/null || true' EXIT
"""


def run(*command, **options):
    return subprocess.run(command, check=True, text=True, capture_output=True, **options)


def clone(into):
    """A fresh clone of the commit, with the uncommitted changes."""
    environment = {**os.environ, **GIT}
    run("git", "clone", "--quiet", "--shared", str(ROOT), str(into), env=environment)
    changed = subprocess.run(["git", "-C", str(ROOT), "diff", "--binary", "HEAD"], check=True, capture_output=True,
                             env=environment).stdout
    if changed:
        subprocess.run(["git", "-C", str(into), "apply", "--whitespace=nowarn"], input=changed, check=True, env=environment)
    # Every clone of a run has the same path and the time of the run, so that cargo builds it once for all documents.
    for file in into.rglob("*"):
        os.utime(file, (BEGAN, BEGAN), follow_symlinks=False)


def target_directory(base):
    """Where the clone's cargo builds: next to the existing build, so that its libraries are reused."""
    told = run("cargo", "metadata", "--format-version", "1", "--no-deps", "--offline", cwd=ROOT).stdout
    built = pathlib.Path(json.loads(told)["target_directory"])
    target = base / "target"
    target.mkdir()
    for name, place in (("debug", built / "debug"), ("release", built / "tested/release")):
        place.mkdir(parents=True, exist_ok=True)
        (target / name).symlink_to(place.resolve())
    (base / ".cargo").mkdir()
    (base / ".cargo/config.toml").write_text(PROFILE)
    return target


def script(blocks, base):
    """One script for all blocks of a document, which reports the result of each."""
    lines = [PRELUDE]
    default = base / "server.sh"
    default.write_text("unset KEYREEVE_URL KEYREEVE_ROOT_KEY\nexec keyreeve serve\n")
    if any(not block.is_server for block in blocks) and not blocks[0].is_server:
        lines += ["current=server", "default_server",
                  f"export KEYREEVE_ROOT_KEY=$(sed -n 's/^root_key=//p' {base}/server.out)"]
    for number, block in enumerate(blocks):
        text, out = base / f"{number}.sh", base / f"{number}.out"
        lines += [f"current={shlex.quote(block.name)}", "allowed=0", block.first]
        if block.is_server:
            text.write_text(block.text)
            lines += [f"start_server {text} {out}"]
        else:
            # In the same shell, so that variables are there for the next block; the test reads the file back.
            text.write_text(block.text)
            lines += [f"allowed={shlex.quote(' '.join(map(str, block.codes)))}", f"exec 4>&1 >{out}", f". {text}", "exec >&4"]
        lines += [f"echo {number} >&3"]
    return "\n".join(lines) + "\n"


class Session:
    """A document while it is run in a shell."""

    def __init__(self, blocks, base):
        self.blocks, self.base = blocks, base
        base.mkdir()
        place = base / "keyreeve"
        clone(place)
        programs = base / "bin"
        programs.mkdir()
        (programs / "keyreeve").symlink_to(BINARY)
        (base / "hosts").write_text(HOSTS)
        (base / "api").mkdir()
        (base / "document.sh").write_text(script(blocks, base))
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("KEYREEVE_", "CARGO_TARGET", "PG"))}
        self.environment = {
            **clean, **GIT, "PATH": f"{programs}:{WHEELS}:{os.environ['PATH']}:/usr/sbin:/sbin",
            "BASE": str(base), "SCRATCH": "/mnt", "KEYREEVE_URL": "http://127.0.0.1:7300", "CARGO_TARGET_DIR": str(target_directory(base)),
            "CARGO_NET_OFFLINE": "true", "XDG_DATA_HOME": str(base), "XDG_CONFIG_HOME": str(base),
        }
        self.place = place

    def run(self):
        """Returns the standard error of the shell; raises if a block did not have its expected output or exit code."""
        inside = (f"set -e; {APART}; mount --bind {self.base}/hosts /etc/hosts; "
                  f"python3 -m http.server --bind 127.0.0.1 --directory {self.base}/api 8080 >/dev/null 2>&1 & "
                  f"exec bash {self.base}/document.sh 3>{self.base}/done")
        log = self.base / "log"
        with log.open("w") as said:
            shell = subprocess.Popen(
                ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", inside],
                cwd=self.place, env=self.environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                start_new_session=True)
            try:
                code = shell.wait(BLOCK_SECONDS * (1 + len(self.blocks) // 4))
            except subprocess.TimeoutExpired:
                code = "no end"
            finally:
                # The processes of the document are in their own namespace and end with its first process.
                if shell.poll() is None:
                    os.killpg(shell.pid, signal.SIGKILL)
                    shell.wait()
        said = log.read_text(errors="replace")
        done = (self.base / "done").read_text().split()
        assert code == 0 and len(done) == len(self.blocks), f"exit {code} after {len(done)} blocks\n{said[-4_000:]}"
        for number, block in enumerate(self.blocks):
            self.compare(block, (self.base / f"{number}.out").read_text(errors="replace"))
        return said

    @staticmethod
    def compare(block, output):
        statuses = [line for line in output.splitlines() if line.isdigit() and len(line) == 3]
        assert statuses == block.statuses or not block.statuses, f"{block.name}: {statuses} instead of {block.statuses}"
        for parts in block.outputs:
            rest = output
            for part in parts:
                assert part in rest, f"{block.name}: {part!r} is not in the output: {output[-2_000:]}"
                rest = rest.split(part, 1)[1]

    def close(self):
        shutil.rmtree(self.base, ignore_errors=True)


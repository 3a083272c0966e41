"""A verifier inside an application: `keyreeve verifier`, in its own network namespace."""
import json
import os
import signal
import subprocess
import threading

from harness import BINARY
from history import DENIED, UNAVAILABLE, VALID, Verified, now
from topology import RUN, SERVER_PORT, Node, make_space, numbers, run


class Inside:
    """Connected to one node. Requests are lines; its verdicts are recorded in the history like those of a node."""

    def __init__(self, node, history, name="inside"):
        self.node, self.history, self.name = node, history, name
        self.revoked, self.lock = [], threading.Lock()
        number = next(numbers)
        self.address = f"{node.address.rsplit('.', 1)[0]}.{number}"
        self.space = f"{node.space.split('-')[0]}-{number}"
        make_space(self.space, self.address, f"kr{RUN}{number}")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KEYREEVE_")}
        environment.update(PATH=os.environ["PATH"] + ":/usr/sbin:/sbin", KEYREEVE_ROOT_KEY=node.world.root_key,
                           KEYREEVE_URL=f"http://{node.address}:{SERVER_PORT}")
        self.process = subprocess.Popen(["ip", "netns", "exec", self.space, BINARY, "verifier"], env=environment,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)

    def send(self, key):
        """Sends a request; `answer` reads the result."""
        self.process.stdin.write(key["secret"].encode() + b"\n")
        self.process.stdin.flush()
        return now()

    def answer(self, key, inv):
        while True:
            said = json.loads(self.process.stdout.readline())
            if "revoked" not in said:
                break
            self.revoked.append(said["revoked"])
        result = VALID if said["valid"] else UNAVAILABLE if said["code"] == "SERVICE_UNAVAILABLE" else DENIED
        self.history.add(Verified(key["id"], self.name, inv, now(), result))
        return result, said

    def ask(self, key):
        with self.lock:
            return self.answer(key, self.send(key))[0]

    def signal(self, number):
        os.killpg(self.process.pid, number)

    def cut(self):
        """Drops all packets between it and its node."""
        for chain, side in (("OUTPUT", "-d"), ("INPUT", "-s")):
            Node.iptables(self, "-A", chain, side, self.node.address, "-j", "DROP")

    def heal(self):
        Node.iptables(self, "-F")

    def close(self):
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.process.stdin.close()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGKILL)
                self.process.wait()
        run("ip", "netns", "delete", self.space, check=False)

"""A verifier that implements the wire protocol in Python, honestly or not (crates/api/src/verifiers.rs).

JSON lines over the connection that began as GET /v1/verifiers with an HTTP/1.1 upgrade.
"""
import hashlib
import itertools
import json
import socket
import threading
import time

PROTOCOL = "keyreeve-verifier"
TIMEOUT = 10


class Refused(Exception):
    """The server answered with another status than 101."""

    def __init__(self, status, headers, body):
        super().__init__(f"{status}: {body[:300]!r}")
        self.status, self.headers, self.body = status, headers, body

    @property
    def code(self):
        return json.loads(self.body)["code"]


def digest(secret):
    return hashlib.sha256(secret.encode()).hexdigest()


def upgraded(server, root_key=None, receive_buffer=None, credential=True, headers=None):
    """A connection right after the upgrade, and the bytes that were received after the head."""
    host, port = server.addresses["listen"].rsplit(":", 1)
    stream = socket.socket()
    if receive_buffer:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    stream.settimeout(TIMEOUT)
    stream.connect((host, int(port)))
    head = ["GET /v1/verifiers HTTP/1.1", "Host: x", "Connection: Upgrade", f"Upgrade: {PROTOCOL}"]
    if credential:
        head.append(f"Authorization: Bearer {root_key or server.root_key}")
    head += [f"{name}: {value}" for name, value in (headers or {}).items()]
    try:
        stream.sendall("\r\n".join([*head, "", ""]).encode())
        return stream, head_of(stream)
    except BaseException:
        stream.close()
        raise


def head_of(stream):
    received = b""
    while b"\r\n\r\n" not in received:
        data = stream.recv(65536)
        if not data:
            raise ConnectionResetError(f"closed before the head was complete: {received!r}")
        received += data
    head, _, rest = received.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    if status == 101:
        return rest
    headers = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
    while len(rest) < int(headers["content-length"]):
        rest += stream.recv(65536)
    raise Refused(status, headers, rest)


class WireVerifier:
    """Pings four times a second; acknowledges at once, after a delay, or never.

    `received` has every message of the server, with the time; `memory` what an honest verifier would have in memory.
    """

    def __init__(self, server, root_key=None, capacity=1000, pings=True, acknowledges=True, delay=0.0, headers=None, **hello):
        self.stream, self.rest = upgraded(server, root_key, headers=headers)
        self.acknowledges, self.delay = acknowledges, delay
        self.received, self.memory, self.grants = [], {}, []
        # When those pings were sent that a lease was granted for.
        self.extended = []
        self.asked, self.numbers = {}, itertools.count(1)
        self.news, self.writing, self.closed = threading.Condition(), threading.Lock(), threading.Event()
        self.closed_at = None
        self.say(type="hello", capacity=capacity, **hello)
        threading.Thread(target=self.read, daemon=True).start()
        if pings:
            threading.Thread(target=self.keep_pinging, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def say(self, **message):
        self.send(json.dumps(message).encode() + b"\n")

    def send(self, data):
        with self.writing:
            self.stream.sendall(data)

    def ping(self):
        number = next(self.numbers)
        self.asked[number] = time.monotonic()
        self.say(type="ping", number=number)
        return number

    def keep_pinging(self):
        try:
            while not self.closed.wait(0.25):
                self.ping()
        except OSError:
            pass

    def fetch(self, secret):
        """Returns the server's answer about a secret; `None` if there is none any more."""
        number = next(self.numbers)
        try:
            self.say(type="fetch", number=number, digest=digest(secret))
        except OSError:
            return None
        found = self.wait_for(lambda said: said.get("type") == "found" and said["number"] == number)
        if found and found["secret"]:
            self.memory[digest(secret)] = found["secret"]
        return found

    def learn(self, *keys):
        """Fetches keys under a lease."""
        assert self.granted(), "no lease"
        for key in keys:
            found = self.fetch(key["secret"])
            assert found and found["secret"], found
        return self

    def granted(self, seconds=TIMEOUT):
        return self.wait_for(lambda said: said.get("type") == "grant" and said["length_ms"] > 0, seconds)

    def orders(self):
        with self.news:
            return [said for _, said in self.received if said["type"].startswith("forget")]

    def wait_for(self, fits, seconds=TIMEOUT):
        """Returns the first message that matches, received already or later; `None` if there will be none."""
        deadline, seen = time.monotonic() + seconds, 0
        with self.news:
            while True:
                for _, said in self.received[seen:]:
                    if fits(said):
                        return said
                seen = len(self.received)
                if self.closed.is_set() or time.monotonic() > deadline:
                    return None
                self.news.wait(0.1)

    def wait_closed(self, seconds):
        """Whether the server has closed the connection within a time."""
        return self.closed.wait(seconds)

    def read(self):
        data = self.rest
        self.stream.settimeout(None)
        try:
            while True:
                *lines, data = data.split(b"\n")
                for line in lines:
                    self.hear(json.loads(line))
                more = self.stream.recv(65536)
                if not more:
                    break
                data += more
        except OSError:
            pass
        self.closed_at = time.monotonic()
        self.closed.set()

    def hear(self, said):
        now = time.monotonic()
        with self.news:
            self.received.append((now, said))
            if said["type"] == "grant":
                sent = self.asked.get(said["number"], now)
                self.grants.append((now, sent + said["length_ms"] / 1000))
                if said["length_ms"] > 0:
                    self.extended.append(sent)
            self.news.notify_all()
        if not said["type"].startswith("forget"):
            return
        self.forget(said)
        if self.acknowledges and self.delay:
            threading.Timer(self.delay, self.acknowledge, [said["number"]]).start()
        elif self.acknowledges:
            self.acknowledge(said["number"])

    def forget(self, said):
        if said.get("digests") is None:
            # A tenant's keys: those that were sent with its name. Without a name it is all keys.
            gone = [one for one, told in self.memory.items() if said.get("tenant") in (None, told["tenant"])]
        else:
            gone = said["digests"]
        for one in gone:
            self.memory.pop(one, None)

    def acknowledge(self, number):
        try:
            self.say(type="ack", number=number)
        except OSError:
            pass

    def lease_end(self):
        """Until when it may answer from what it knew before its first order: it reads in order, so a grant that comes
        after the order is for a memory that has applied it."""
        with self.news:
            ordered = min((at for at, said in self.received if said["type"] == "forget"), default=float("inf"))
            return max((end for at, end in self.grants if at < ordered), default=0)

    def close(self):
        try:
            self.stream.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.stream.close()


def leave(verifier):
    """Returns its lease, so that no change waits for it."""
    try:
        verifier.say(type="leave")
        verifier.wait_closed(TIMEOUT)
    except OSError:
        pass
    verifier.close()

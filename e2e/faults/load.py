"""Continuous verification on every node, and changes, all recorded in one history."""
import http.client
import json
import threading

from history import DENIED, UNAVAILABLE, VALID, Changed, History, Verified, now
from topology import SERVER_PORT


class Asker:
    """One connection to one node."""

    def __init__(self, node, history):
        self.node, self.history, self.connection = node, history, None

    def ask(self, key, timeout=10):
        body = json.dumps({"key": key["secret"]})
        headers = {"Authorization": f"Bearer {self.node.world.root_key}", "Content-Type": "application/json"}
        inv = now()
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection(self.node.address, SERVER_PORT, timeout=timeout)
            self.connection.request("POST", "/v1/verify", body, headers)
            answer = self.connection.getresponse()
            verdict = json.loads(answer.read())
            if answer.status == 200:
                result = VALID if verdict["valid"] else DENIED
            else:
                result = UNAVAILABLE
        except (OSError, http.client.HTTPException, ValueError):
            self.connection = None
            result = UNAVAILABLE
        event = Verified(key["id"], self.node.name, inv, now(), result)
        self.history.add(event)
        return event


class Load:
    """Verifies every key at every node in a loop, until the block ends; then checks the history."""

    def __init__(self, world, threads_a_node=1):
        self.world, self.history = world, History()
        self.keys, self.stopped, self.threads = [], threading.Event(), []
        self.threads_a_node = threads_a_node
        self.count = 0

    def __enter__(self):
        for node in self.world.nodes:
            self.watch(node)
        return self

    def watch(self, node):
        for _ in range(self.threads_a_node):
            thread = threading.Thread(target=self.ask_on, args=(node,), daemon=True)
            thread.start()
            self.threads.append(thread)

    def ask_on(self, node):
        asker = Asker(node, self.history)
        while not self.stopped.is_set():
            keys = list(self.keys)
            if not keys:
                self.stopped.wait(0.01)
            for key in keys:
                asker.ask(key)
                if self.stopped.wait(0.0005):
                    return

    def __exit__(self, kind, error, trace):
        self.stopped.set()
        for thread in self.threads:
            thread.join(30)
        if kind is None:
            violations = self.history.check()
            assert not violations, (len(violations), violations[:5], self.history.counts())

    def issue(self, node, number=1):
        made = []
        for _ in range(number):
            self.count += 1
            inv = now()
            status, key = node.call("POST", "/v1/api_keys", {"name": f"key {self.count}", "subject": "user_1"})
            assert status == 201, (status, key)
            self.history.add(Changed(key["id"], False, inv, now(), True, key["effect"]["revision"]))
            made.append(key)
        self.keys += made
        return made

    def warm(self, keys, nodes=None):
        """Brings the keys into the memory of every node."""
        for node in nodes or self.world.nodes:
            asker = Asker(node, self.history)
            for key in keys:
                for _ in range(2):
                    assert asker.ask(key).result == VALID, (node.name, node.log())

    def change(self, node, key, verb, is_denial, timeout=60):
        inv = now()
        status, answer = node.call("POST", f"/v1/api_keys/{key['id']}/{verb}", {}, timeout=timeout)
        revision = answer["effect"]["revision"] if status == 200 else 0
        event = Changed(key["id"], is_denial, inv, now(), status == 200, revision)
        self.history.add(event)
        return status, answer, (event.ret - event.inv) / 1e9

    def revoke(self, node, key, **options):
        return self.change(node, key, "revoke", True, **options)

    def disable(self, node, key, **options):
        return self.change(node, key, "disable", True, **options)

    def reactivate(self, node, key, **options):
        return self.change(node, key, "reactivate", False, **options)

    def ask_all(self, key, nodes=None):
        """The first request after an answer, on every node at once."""
        askers = [Asker(node, self.history) for node in nodes or self.world.nodes]
        results = {}

        def ask(asker):
            results[asker.node.name] = asker.ask(key).result
        threads = [threading.Thread(target=ask, args=(asker,)) for asker in askers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


"""GitHub's side of its partner programme: a key pair, a list of public keys, signed messages."""
import base64
import http.server
import json
import pathlib
import subprocess
import threading
import zlib

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def with_checksum(text):
    number, checksum = zlib.crc32(text.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        checksum = DIGITS[digit] + checksum
    return text + checksum


class GitHub:
    """Signs messages, and publishes the key's id."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.list = self.folder / "keys.json"
        self.new_key("current")

    def openssl(self, *arguments, **options):
        return subprocess.run(["openssl", *arguments], check=True, capture_output=True, **options).stdout

    def new_key(self, identifier):
        """From now on messages are signed with another key."""
        self.identifier, self.private = identifier, self.folder / f"{identifier}.pem"
        self.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.private)
        public = self.openssl("ec", "-in", self.private, "-pubout").decode()
        entry = {"key_identifier": identifier, "key": public, "is_current": True}
        self.list.write_text(json.dumps({"public_keys": [entry]}))

    def sign(self, body):
        signature = self.openssl("dgst", "-sha256", "-sign", self.private, input=body)
        return {"Github-Public-Key-Identifier": self.identifier, "Content-Type": "application/json",
                "Github-Public-Key-Signature": base64.b64encode(signature).decode()}


class Publisher:
    """Serves the list over HTTP as GitHub does: with an ETag. It can also misbehave."""

    def __init__(self, github):
        self.github, self.asked, self.misbehaviour = github, [], None

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(handler):  # noqa: N805
                self.answer(handler)

            def log_message(handler, *_):  # noqa: N805
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/keys"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, handler):
        self.asked.append(handler.path)
        if self.misbehaviour == "redirect" and handler.path == "/keys":
            handler.send_response(302)
            handler.send_header("Location", "/elsewhere")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        body = b" " * 400_000 if self.misbehaviour == "huge" else self.github.list.read_bytes()
        handler.send_response(500 if self.misbehaviour == "broken" else 200)
        handler.send_header("ETag", '"1"')
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def close(self):
        self.server.shutdown()
        self.server.server_close()

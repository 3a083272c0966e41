"""A real Apache with mod_auth_openidc, Keyreeve behind TLS in front of it, and an API that returns what it received."""
import http.server
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import requests

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIGURATION = ROOT / "deploy/oauth/apache.conf"
MODULES = pathlib.Path("/usr/lib/apache2/modules")
START_SECONDS = 20

OUTER = """\
ServerRoot "{home}"
ServerName localhost
DefaultRuntimeDir "{home}"
PidFile "{home}/pid"
ErrorLog "{home}/error.log"
LogLevel warn
User www-data
Group www-data
{modules}
Listen 127.0.0.1:{port}
Listen 127.0.0.1:{tls_port} https

# Keyreeve behind TLS: the module takes nothing but https.
<VirtualHost 127.0.0.1:{tls_port}>
    SSLEngine on
    SSLCertificateFile "{home}/tls.crt"
    SSLCertificateKeyFile "{home}/tls.key"
    ProxyPass "/" "{keyreeve}/"
</VirtualHost>

OIDCCABundlePath "{home}/tls.crt"
<VirtualHost 127.0.0.1:{port}>
    Define KEYREEVE_URL https://localhost:{tls_port}
    Define KEYREEVE_ROOT_KEY {root_key}
    Define KEYREEVE_INTERVAL {interval}
    Define API_UPSTREAM {upstream}
    Include "{configuration}"
</VirtualHost>
"""
NEEDED = ["mpm_event", "authn_core", "authz_core", "authz_user", "headers", "proxy", "proxy_http", "setenvif", "ssl",
          "auth_openidc"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Echo(http.server.BaseHTTPRequestHandler):
    """The API: answers with the headers that it received."""

    def do_GET(self):
        self.server.seen.append(self.path)
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Apache:
    """One Apache of this test, and its environment."""

    def __init__(self, keyreeve, root_key, interval):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="keyreeve-apache-"))
        self.home.chmod(0o755)
        self.api = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
        self.api.seen = []
        threading.Thread(target=self.api.serve_forever, daemon=True).start()
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
             "-keyout", self.home / "tls.key", "-out", self.home / "tls.crt"], check=True, capture_output=True)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        text = OUTER.format(
            home=self.home, port=port, tls_port=free_port(), keyreeve=keyreeve, root_key=root_key, interval=interval,
            upstream=f"http://127.0.0.1:{self.api.server_port}", configuration=CONFIGURATION,
            modules="\n".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in NEEDED))
        (self.home / "httpd.conf").write_text(text)
        os.chmod(self.home / "httpd.conf", 0o600)
        self.process = subprocess.Popen(
            ["/usr/sbin/apache2", "-D", "FOREGROUND", "-f", self.home / "httpd.conf"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            self.wait()
        except RuntimeError:
            self.close()
            raise

    def wait(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                requests.get(self.url, timeout=5)
                return
            except requests.ConnectionError:
                time.sleep(0.05)
        raise RuntimeError("Apache did not start: " + self.log())

    def log(self):
        path = self.home / "error.log"
        out = self.process.stdout.read().decode() if self.process.poll() is not None else ""
        return out + (path.read_text(errors="replace") if path.exists() else "")

    def get(self, secret=None, path="/", **headers):
        if secret is not None:
            headers["Authorization"] = f"Bearer {secret}"
        return requests.get(self.url + path, headers=headers, timeout=20)

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.api.shutdown()
        self.api.server_close()
        shutil.rmtree(self.home, ignore_errors=True)

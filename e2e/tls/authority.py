"""Certificates for the tests, made by openssl: of a private authority, with any requested fault."""
import pathlib
import subprocess


class Authority:
    """A certificate authority in a directory."""

    def __init__(self, directory, name):
        self.directory = pathlib.Path(directory)
        self.name = name
        self.key, self.certificate = self.path("ca.key"), self.path("ca.pem")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                "-days", "30", "-keyout", self.key, "-out", self.certificate)

    def path(self, ending):
        return self.directory / f"{self.name}-{ending}"

    def issue(self, name, hosts=("DNS:localhost", "IP:127.0.0.1"), times=None, usage="serverAuth", kind="ec"):
        """A certificate and its key; `times` are its first and its last moment, `YYYYMMDDHHMMSSZ`."""
        key, request, certificate = (self.path(f"{name}.{ending}") for ending in ("key", "csr", "pem"))
        new = ["-newkey", "rsa:2048"] if kind == "rsa" else ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        openssl("req", *new, "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        extensions = self.path(f"{name}.ext")
        extensions.write_text(f"subjectAltName={','.join(hosts)}\nextendedKeyUsage={usage}\n")
        if times is None:
            openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial",
                    "-days", "20", "-extfile", extensions, "-out", certificate)
        else:
            self.issue_between(request, certificate, extensions, *times)
        return certificate, key

    def issue_between(self, request, certificate, extensions, first, last):
        """Only `openssl ca` takes moments in the past."""
        book = self.path("book")
        (book / "new").mkdir(parents=True, exist_ok=True)
        (book / "index").touch()
        (book / "settings").write_text(
            f"[ca]\ndefault_ca=it\n[it]\ndatabase={book}/index\nnew_certs_dir={book}/new\nrand_serial=yes\n"
            "default_md=sha256\npolicy=any\nunique_subject=no\n[any]\ncommonName=supplied\n")
        openssl("ca", "-batch", "-notext", "-config", book / "settings", "-in", request, "-cert", self.certificate,
                "-keyfile", self.key, "-startdate", first, "-enddate", last, "-extfile", extensions, "-out", certificate)


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)

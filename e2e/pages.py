"""The dashboard as a browser without script sees it."""
import re

import requests


class Browser:
    """Keeps cookies like a browser that trusts this machine without TLS; requests alone would not send them back."""

    def __init__(self, url):
        self.url, self.cookies = url, {}

    def ask(self, method, path, form=None):
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = requests.request(method, self.url + path, data=form, allow_redirects=False, timeout=30,
                                  headers={"Cookie": cookie, "Accept": "text/html"})
        for cookie in answer.raw.headers.getlist("set-cookie"):
            name, value = cookie.split(";")[0].split("=", 1)
            self.cookies[name] = value
        return answer

    def send(self, path, **fields):
        page = self.ask("GET", path).text
        fields |= dict(re.findall(r'<input type="hidden" name="(csrf|once|token)" value="([^"]*)"', page))
        return self.ask("POST", path.split("?")[0], fields)

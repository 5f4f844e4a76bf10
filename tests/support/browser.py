"""A minimal HTTP client with cookies and a client address of its own, for load tests."""

from __future__ import annotations

import http.client
import time
import urllib.parse


class Browser:
    """A browser whose owner asks again `patience` times, a second later each, if there is no place
    or no answer. `again` is how often that was, `took` the seconds until the last answer, and
    `longest` those until the slowest."""

    def __init__(self, port: int, address: str, timeout: float = 30, patience: int = 0) -> None:
        self.link = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        self.address, self.cookies, self.took = address, dict[str, str](), 0.0
        self.patience, self.again, self.longest = patience, 0, 0.0

    def ask(self, path: str, **fields: str) -> tuple[int, str]:
        """Do as ask_once() does, with patience."""
        for _ in range(self.patience):
            status, text = self.ask_once(path, **fields)
            if status not in (0, 503):
                return status, text
            self.again += 1
            time.sleep(1)
        return self.ask_once(path, **fields)

    def ask_once(self, path: str, **fields: str) -> tuple[int, str]:
        """Open the page, or send a form if there are fields. An underscore in a field's name stands
        for a hyphen.

        Return the status and the text, or 0 and an empty text if there was no answer.
        """
        headers = {
            "X-Forwarded-For": self.address,
            "Sec-Fetch-Site": "same-origin",
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
        }
        body = None
        if fields:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urllib.parse.urlencode(
                {name.replace("_", "-"): value for name, value in fields.items()}
            )
        began = time.perf_counter()
        # the server may have closed a connection that was idle: as browsers do, make another
        for _ in range(2):
            try:
                self.link.request("POST" if fields else "GET", path, body, headers)
                answer = self.link.getresponse()
                text = answer.read().decode()
                break
            except (OSError, http.client.HTTPException):
                self.link.close()
        else:
            self._note(began)
            return 0, ""
        self._note(began)
        for cookie in answer.headers.get_all("Set-Cookie") or []:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer.status, text

    def _note(self, began: float) -> None:
        self.took = time.perf_counter() - began
        self.longest = max(self.longest, self.took)

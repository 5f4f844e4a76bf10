"""A phone without JavaScript: it opens pages, fills forms, follows redirects, and looks at every
page it gets."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from urllib.parse import urljoin

VOID = {
    "meta",
    "link",
    "input",
    "br",
    "hr",
    "img",
    "path",
    "circle",
    "rect",
    "source",
    "use",
    "wbr",
}


class Page(HTMLParser):
    """What a page holds: its text, headings, links, forms. Fails on tags that do not match and ids
    that repeat."""

    def __init__(self, response) -> None:
        super().__init__()
        self.response, self.status, self.url = response, response.status_code, response.request.path
        self.forms: list[dict] = []
        self.links: list[str] = []
        self.clock: dict[str, str] | None = None
        self.texts: list[str] = []
        self.headings: list[str] = []
        self._open: list[str] = []
        self._ids: Counter[str] = Counter()
        self.html = response.get_data(as_text=True)
        self.feed(self.html)
        self.close()
        assert not self._open, f"not closed: {self._open}"
        repeated = [name for name, count in self._ids.items() if count > 1]
        assert not repeated, f"ids that repeat: {repeated}"

    def handle_starttag(self, tag, attrs):
        attributes = {name: value or "" for name, value in attrs}
        assert "style" not in attributes, "an inline style breaks the CSP"
        assert not [name for name in attributes if name.startswith("on")], (
            "an inline script breaks the CSP"
        )
        if tag not in VOID:
            self._open.append(tag)
        if "id" in attributes:
            self._ids[attributes["id"]] += 1
        if tag == "form":
            self.forms.append(
                {
                    "action": attributes.get("action", ""),
                    "method": attributes.get("method", "get"),
                    "fields": {},
                    "boxes": set(),
                }
            )
        if tag in ("input", "select", "textarea") and self.forms and attributes.get("name"):
            if attributes.get("type") in ("radio", "checkbox") and "checked" not in attributes:
                self.forms[-1]["boxes"].add(attributes["name"])
            else:
                self.forms[-1]["fields"][attributes["name"]] = attributes.get("value", "")
            if attributes.get("type", "text") not in ("hidden", "radio", "checkbox"):
                assert attributes.get("autocomplete"), f"no autocomplete on {attributes['name']}"
        if tag == "a":
            self.links.append(attributes.get("href", ""))
        if "every 1s" in attributes.get("hx-trigger", ""):
            self.clock = attributes

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self._open, f"</{tag}> without a beginning"
        assert self._open.pop() == tag, f"</{tag}> does not close what is open"

    def handle_data(self, data):
        if self._open and self._open[-1] in ("script", "style"):
            return
        self.texts.append(data)
        if "h1" in self._open:
            self.headings.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.texts)).strip()

    @property
    def ticks(self) -> bool:
        """Whether it is a live fragment: its text ends in the time."""
        return re.search(r"\d\d:\d\d:\d\d$", self.text) is not None

    def form(self, *names: str) -> dict:
        """The form that has these fields."""
        found = [form for form in self.forms if set(names) <= set(form["fields"])]
        assert found, f"no form with {names} on {self.url}: {self.text[:300]}"
        return found[0]

    def link(self, part: str) -> str:
        found = [link for link in self.links if part in link]
        assert found, f"no link with {part} on {self.url}: {self.links}"
        return found[0]


class Phone:
    """A browser of one person. `headers` may replace what browsers send with a POST."""

    def __init__(self, app, address: str = "203.0.113.7") -> None:
        self.client = app.test_client()
        self.client.environ_base["REMOTE_ADDR"] = address
        self.client.environ_base["HTTP_USER_AGENT"] = (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)"
        )
        self.page: Page | None = None

    def get(self, path: str, **options) -> Page:
        response = self.client.get(path, follow_redirects=True, **options)
        return self._seen(response)

    def post(self, path: str, data: dict | None = None, *, follow: bool = True, **options) -> Page:
        headers = options.pop(
            "headers", {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}
        )
        response = self.client.post(
            path, data=data or {}, headers=headers, follow_redirects=follow, **options
        )
        return self._seen(response)

    def send(self, _action: str = "", **fields: str) -> Page:
        """Fill the form that has these fields (an underscore stands for a hyphen) and send it."""
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        forms = [
            f
            for f in self.page.forms
            if set(named) <= {*f["fields"], *f["boxes"]} and _action in f["action"]
        ]
        assert forms, (
            f"no form {_action} with {set(named)} on {self.page.url}: {self.page.text[:200]}"
        )
        form = forms[0]
        return self.post(urljoin(self.page.url, form["action"]), form["fields"] | named)

    def _seen(self, response) -> Page:
        self.page = Page(response)
        if response.mimetype == "text/html" and "<html" in self.page.html:
            assert len(self.page.headings) >= 1, "no h1"
            assert self.page.html.count("<h1") == 1, "more than one h1"
            assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
            assert response.headers["Cache-Control"] == "no-store"
        return self.page

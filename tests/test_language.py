"""Tests of the two languages, Japanese and English, and of the switch between them."""

from __future__ import annotations

import re

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from tests.support.people import NAO
from tests.support.phone import Phone
from tests.support.sample import ROOT

SOURCES = [("views/**.py", "python"), ("templates/**.html", "jinja2")]
KEYWORDS = {"_": None, "gettext": None, "lazy_gettext": None}
STRICT = {"templates/**.html": {"silent": "false"}}
PLACE = re.compile(r"%\(\w+\)s|\{n\}|%")
OWN = {"Sec-Fetch-Site": "same-origin"}
JAPANESE = re.compile("[\u3041-\u30ff\u4e00-\u9fff]+")


def sentences() -> set[str]:
    """Every sentence that the program's sources have translated."""
    found = extract_from_dir(str(ROOT), SOURCES, keywords=KEYWORDS, options_map=STRICT)
    return {message if isinstance(message, str) else message[0] for _, _, message, _, _ in found}


def english() -> dict[str, str]:
    with (ROOT / "translations/en/LC_MESSAGES/messages.po").open("rb") as file:
        catalogue = read_po(file, locale="en", abort_invalid=True)
    assert not [entry.id for entry in catalogue if entry.fuzzy and entry.id]
    return {entry.id: entry.string for entry in catalogue if entry.id}


def test_every_sentence_has_an_english_one_and_no_english_one_is_left_over():
    translated = english()
    assert sorted(sentence for sentence in sentences() if not translated.get(sentence)) == []
    assert sorted(translated.keys() - sentences()) == []


def test_an_english_sentence_holds_the_same_places_as_the_japanese_one():
    for sentence, own in english().items():
        assert sorted(PLACE.findall(sentence)) == sorted(PLACE.findall(own)), sentence


def test_no_japanese_stands_in_templates_but_in_what_is_translated_or_for_the_desk():
    for path in sorted((ROOT / "templates").rglob("*.html")):
        if path.parent.name == "certificate":  # the desk reads it
            continue
        text = re.sub(r"\{#.*?#\}", "", path.read_text("utf-8"), flags=re.S)
        text = re.sub(r"_\(([\"']).*?\1", "", text)
        left = [word for word in JAPANESE.findall(text) if word not in ("パソコン", "その他の端末")]
        assert not left, (path.name, left)


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        (None, "ja"),
        ("ja", "ja"),
        ("ja-JP,ja;q=0.9,en;q=0.8", "ja"),
        ("en-US,en;q=0.9,ja;q=0.8", "en"),
        ("en", "en"),
        ("fr-FR,fr;q=0.9", "ja"),
        ("pt-BR,en;q=0.5", "en"),
        ("*", "ja"),
        ("", "ja"),
        ("x;q=é,,;", "ja"),
    ],
)
def test_the_browser_chooses_and_anything_but_english_is_japanese(app, accepted, language):
    headers = {} if accepted is None else {"Accept-Language": accepted}
    page = Phone(app).get("/login", headers=headers)
    assert f'<html lang="{language}"' in page.html
    assert ("ログインする" in page.text) is (language == "ja")


def test_the_switch_stays_on_the_page_and_is_kept(app):
    phone = Phone(app)
    page = phone.get("/password/forgot")
    switch = page.forms[0]["action"]
    page = phone.post(switch)
    assert page.url == "/password/forgot"
    assert page.headings == ["Forgotten your password?"]
    assert "lang=en" in page.response.request.environ["HTTP_COOKIE"]
    assert phone.get("/login", headers={"Accept-Language": "ja"}).headings == ["Log in"]
    phone.post(phone.page.forms[0]["action"])
    assert phone.page.headings == ["ログイン"]


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "evil"]
)
def test_the_switch_leads_to_no_page_of_others(app, target):
    answer = app.test_client().post("/language/en", query_string={"next": target}, headers=OWN)
    assert answer.headers["Location"] == "/"


def test_no_other_language_is_kept_and_the_cookie_is_lax(app):
    phone = Phone(app)
    assert phone.post("/language/xx").status == 404
    kept = app.test_client().post("/language/en", headers=OWN).headers["Set-Cookie"]
    assert kept.startswith("lang=en;")
    assert "SameSite=Lax" in kept
    phone.client.set_cookie("lang", "../../etc")
    assert 'lang="ja"' in phone.get("/login").html


def test_a_page_that_answers_a_form_alone_switches_to_home(app):
    phone = Phone(app)
    page = phone.post("/login/trust", headers={"Sec-Fetch-Site": "cross-site"})
    assert page.status == 403
    assert page.forms[0]["action"].endswith("next=/")


def test_english_sentences_come_from_views_with_their_values(app, letters):
    phone = Phone(app)
    phone.client.set_cookie("lang", "en")
    phone.get("/login")
    for _ in range(11):
        phone.send(username=letters[NAO][0], password="wrong")
    assert phone.page.status == 429
    assert "Please wait until about 14:" in phone.page.text


def test_a_certificate_is_japanese_for_the_desk_and_names_its_items_in_english_for_its_holder(
    enroll,
):
    phone = enroll(NAO)
    card = phone.page.link("/certificates/")
    japanese = phone.get(card)
    assert "Insurer" not in japanese.text
    phone.client.set_cookie("lang", "en")
    page = phone.get("/")
    assert "Valid until 1 December 2028" in page.text
    page = phone.get(card)
    for text in (
        "健康保険 資格確認書",
        "保険者番号 Insurer number",
        "昭和54年6月12日",
        "令和10年12月1日(2028年)",
        "本人",
    ):
        assert text in page.text
    assert "通信が切れています" in page.text
    assert "通信が切れています" in phone.get(page.clock["hx-get"]).text


def test_an_icon_on_the_home_screen_begins_at_ones_own_certificate_or_home_for_who_may_show_others(
    enroll,
):
    assert enroll(NAO).get("/certificates/mine").url == "/"
    phone = enroll("佐倉 美咲")
    own = phone.page.link("/certificates/")
    assert phone.get("/certificates/mine").url == own
    phone.post("/logout")
    phone.get("/certificates/mine")
    assert phone.page.url == "/login"
    assert phone.page.form("username", "password", "next")["fields"]["next"] == "/certificates/mine"
    assert enroll("戸田 さくら").get("/certificates/mine").url == "/"

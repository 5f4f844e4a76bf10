"""Tests of the letters: their addresses, and the pages that are printed from the credentials file."""

import csv
import io
import stat
import subprocess
import sys
import unicodedata

import pypdf
import pytest

from imports import printing
from imports.letters import ADDRESS, COLUMNS, NewFile
from models import Member
from tests.support.clerk import make_app
from tests.support.office import text_of
from tests.support.ready import path_of
from tests.test_imports import CHILD, HEAD, OTHER, ROOT, WIFE

TITLES = (*COLUMNS, ADDRESS)
MM = 72 / 25.4
LETTER = dict.fromkeys(TITLES, "") | {
    "ログインID": "V-562-868-558",
    "仮パスワード": "ACDEF-3467-9GHJK",
    "保険者番号": "06139463",
    "氏名": "佐倉 直人",
    "宛名": "佐倉 直人",
}
READABLE = [
    '#import "x"',
    "<script>alert(1)</script>",
    "{{ 7 * 7 }}$x^2$*b*_i_ //c /*d*/ \\ @e <f> `g` ~ -- ...",
    "= 見出し",
    "'=1+1",
    "●●太郎",
    "\u202e並びを変える\u202c\u2066前\u2069",
    "改行\r\nのある\n\n\n\n名前\f\v\x00\x1b[31m",
    "W" * 100,
    "鬱" * 100,
    "e" + "\u0301\u0323" * 49,
    "a b " * 25,
]
HOSTILE = [*READABLE, "\ue000\U000f0000外字", "﷽" * 100, "محمد 123 דוד"]
"""The last three are in no font of a server's."""


class Office:
    """The clerk, with a credentials file of their own making."""

    def __init__(self, clerk, monkeypatch):
        monkeypatch.setenv("KAKUNIN_BASE_URL", "https://kakunin.example.jp/")
        self.folder, self.app = clerk.folder, make_app()
        self.file, self.pdf = self.folder / "通知.csv", self.folder / "通知.pdf"

    def print(self, content, *more):
        """Print a credentials file of these rows or bytes; return the finished command."""
        if isinstance(content, list):
            content = text_of(content, TITLES).encode("utf-8-sig")
        self.file.write_bytes(content)
        command = ["letters", "print", self.file, "--out", self.pdf, *more]
        done = self.app.test_cli_runner().invoke(args=list(map(str, command)))
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done

    @property
    def pages(self):
        return [page.extract_text() for page in pypdf.PdfReader(self.pdf).pages]


@pytest.fixture
def office(clerk, monkeypatch):
    path_of("Noto CJK")
    return Office(clerk, monkeypatch)


def people(*changes):
    """Return a letter for each change, with login IDs that differ."""
    digits = str.maketrans("01234567", "23456789")
    return [
        LETTER | {"ログインID": "V-562-868-" + f"{i:03o}".translate(digits)} | change
        for i, change in enumerate(changes)
    ]


def plain(text):
    """Return the text without its spaces and line ends, as it is compared."""
    return "".join(
        c for c in text if not c.isspace() and unicodedata.category(c) not in ("Cc", "Cf")
    )


def test_whatever_the_cells_hold_is_printed_as_text_on_the_one_page_of_its_person(office):
    titles = ("氏名", "宛名", "事業所名称", ADDRESS)
    rows = people(*(dict.fromkeys(titles, text) for text in ["普通", *HOSTILE, "終"]))
    done = office.print(rows)
    assert done.exit_code == 0, done.output
    pages = list(map(plain, office.pages))
    assert len(pages) == len(HOSTILE) + 2
    assert all("ACDEF-3467-9GHJK" in page for page in pages)
    assert pages[len(READABLE) + 1].count("〓〓外字") >= len(titles)
    for text, page in zip(["普通", *READABLE], pages, strict=False):
        assert page.count(plain(text.removeprefix("'"))) >= len(titles), text
    assert done.stdout.count("サーバーの書体にない文字です") == 3 * len(titles)


def test_nothing_but_the_address_is_ever_in_the_envelopes_window(office):
    every = [dict.fromkeys(("氏名", "宛名", "事業所名称", ADDRESS), text) for text in HOSTILE]
    few = {ADDRESS: "東京都千代田区見本町1-2-3", "事業所名称": "見本工業", "氏名": "佐倉 蓮"}
    assert office.print(people(few, few | {ADDRESS: ""}, *every)).exit_code == 0
    reader = pypdf.PdfReader(office.pdf)
    shown = []
    for page in reader.pages:
        seen = []

        def visit(text, user, matrix, font, size, seen=seen):
            across, down = user[4] + matrix[4] * user[0], 297 * MM - user[5] - matrix[5] * user[3]
            if across < 110 * MM and down < 57 * MM and text.strip():
                seen.append((text, across / MM, down / MM))

        page.extract_text(visitor_text=visit)
        assert seen
        assert all(20 <= x <= 85 and 12 <= y <= 36.5 for _, x, y in seen), seen
        shown.append(plain("".join(text for text, _, _ in seen)))
    assert shown[:2] == ["東京都千代田区見本町1-2-3佐倉直人様", "見本工業佐倉直人様"]


def test_a_printed_letter_holds_what_its_person_needs(office, clerk, monkeypatch):
    clerk.roster([HEAD | {"住所": "東京都千代田区見本町1-2-3"}, WIFE])
    letters = clerk.folder / "letters1.csv"
    assert office.print(letters.read_bytes()).exit_code == 0
    head, wife = office.pages
    for row, page in zip(clerk.letters, (head, wife), strict=True):
        assert row["ログインID"] in page
        assert row["仮パスワード"] in page
        assert "佐倉直人様" in plain(page)
        assert "https://kakunin.example.jp/login" in plain(page)
        assert "EligibilityVerificationCertificate" in plain(page)
        assert office.app.config["INSURERS"]["06139463"]["name"] in plain(page)
        assert office.app.config["INSURERS"]["06139463"]["phone"] in plain(page)
    assert "佐倉直人様のご家族、佐倉美咲様のログインID" in plain(wife)
    assert "ご家族" not in plain(head)
    assert "佐倉美咲" not in plain(head)


def test_a_formulas_apostrophe_is_not_printed(office, clerk):
    clerk.roster([HEAD | {"氏名": "=1+1"}])
    assert clerk.letters[0]["氏名"] == "'=1+1"
    assert office.print((clerk.folder / "letters1.csv").read_bytes()).exit_code == 0
    assert plain(office.pages[0]).startswith("見本工業株式会社=1+1様")


def test_without_an_addressee_the_letter_goes_to_its_person_and_the_clerk_is_told(office):
    done = office.print(people({"宛名": ""}))
    assert "line 2, column 宛名, value : （警告）" in done.stdout
    assert "ご家族" not in office.pages[0]
    assert plain(office.pages[0]).count("佐倉直人様") == 3


def test_the_pdf_is_its_owners_alone(office):
    assert office.print([LETTER]).exit_code == 0
    assert stat.S_IMODE(office.pdf.stat().st_mode) == 0o600
    assert not list(office.folder.glob("*.part"))


@pytest.mark.parametrize("name", ["通知.pdf", "通知.pdf.part"])
def test_no_file_that_is_there_is_touched(office, name):
    (office.folder / name).write_text("there", "utf-8")
    done = office.print([LETTER])
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{name} ")
    assert [path.read_text("utf-8") for path in office.folder.glob("通知.pdf*")] == ["there"]


@pytest.mark.parametrize("name", ["通知.pdf", "通知.pdf.part"])
def test_no_link_is_followed(office, name):
    (office.folder / name).symlink_to(office.folder / "elsewhere")
    assert office.print([LETTER]).exit_code == 1
    assert not (office.folder / "elsewhere").exists()


def test_a_disk_that_is_full_leaves_nothing(office, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("imports.letters.os.fsync", full)
    done = office.print([LETTER])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "空き容量" in done.stderr
    assert not list(office.folder.glob("*.pdf*"))


WRONG = [
    ({"ログインID": "V-562-868-55"}, "line 3, column ログインID, value V56286855: "),
    ({"ログインID": "V-562-868-550"}, "line 3, column ログインID, value V562868550: "),
    ({"ログインID": "v562868222"}, "line 3, column ログインID, value V-562-868-222: 2行目と同じ"),
    ({"仮パスワード": "ACDEF-3467-9GHJ"}, "line 3, column 仮パスワード, value （表示しません）: "),
    ({"保険者番号": "06139497"}, "line 3, column 保険者番号, value 06139497: "),
    ({"氏名": " "}, "line 3, column 氏名, value : 空です"),
    ({"宛名": "あ" * 101}, f"line 3, column 宛名, value {'あ' * 59}…: 101文字"),
    ({ADDRESS: "あ" * 101}, f"line 3, column 住所, value {'あ' * 59}…: 101文字"),
]


@pytest.mark.parametrize(("change", "says"), WRONG)
def test_a_wrong_cell_is_named_by_its_line_and_nothing_is_written(office, change, says):
    done = office.print(people({}, change, {}))
    assert says in done.stdout
    assert done.stderr == "お手紙を作っていません（エラー1件）。\n"
    assert done.exit_code == 1
    assert not list(office.folder.glob("*.pdf*"))


GOOD = text_of([LETTER], TITLES)
NO_FILE = {
    "empty": (b"", "空か"),
    "header only": (GOOD.splitlines()[0].encode(), "見出しだけ"),
    "a quote left open": (GOOD.encode() + b'"x', "引用符"),
    "no encoding": (GOOD.encode() + b"\xff\xfe\x81", "読めないバイト"),
    "a roster": (text_of([HEAD]).encode(), "line 1, column ログインID, value : この列がありません"),
    "a column of their own": (
        text_of([LETTER | {"住 所": ""}]).encode(),
        "line 1, column 住 所, value 住 所: 知らない列です",
    ),
    "a column twice": (
        text_of([LETTER], [*TITLES, "氏名"]).encode(),
        "line 1, column 氏名, value 氏名: 同じ列が2つ",
    ),
    "a short row": (
        GOOD.encode() + b"V-562,x\r\n",
        "line 3, column ログインID, value V-562: セルが2個",
    ),
}


@pytest.mark.parametrize("name", NO_FILE)
def test_what_is_no_credentials_file_is_refused_in_words(office, name):
    content, says = NO_FILE[name]
    done = office.print(content)
    assert done.exit_code == 1
    assert says in done.output
    assert not list(office.folder.glob("*.pdf*"))


def test_the_file_may_have_been_saved_by_excel(office):
    row = LETTER | {"保険者番号": "6139463"}
    out = io.StringIO()
    csv.writer(out).writerows([TITLES, [row[name] for name in TITLES], [""] * len(TITLES)])
    assert office.print(out.getvalue().encode("cp932")).exit_code == 0
    assert len(office.pages) == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
def test_the_insurers_text_stands_on_each_page_word_for_word(office, encoding):
    text = office.folder / "text.txt"
    text.write_bytes('#import "x"\r\n\r\n*お知らせ* {{ 1 }} <b>\r\n'.encode(encoding))
    assert office.print(people({}, {}), "--text", text).exit_code == 0
    assert all('#import"x"*お知らせ*{{1}}<b>このお手紙は' in plain(page) for page in office.pages)


def test_a_text_that_does_not_fit_on_the_page_is_refused(office):
    text = office.folder / "text.txt"
    lines = 8
    while True:
        text.write_text("あ" * 40 + "\n" + "\n".join("い" * lines), "utf-8")
        done = office.print([LETTER], "--text", text)
        if done.exit_code:
            break
        office.pdf.unlink()
        lines += 1
    assert lines > 10
    assert done.stderr == f"{printing.TOO_LONG}\n"
    assert not list(office.folder.glob("*.pdf*"))


def test_a_missing_font_is_said_with_the_package_that_has_it(office, monkeypatch):
    monkeypatch.setattr(printing, "FONTS", ("Noto Sans CJK XX",))
    done = office.print([LETTER])
    assert done.exit_code == 1
    assert "Noto Sans CJK XX" in done.stderr
    assert "fonts-noto-cjk" in done.stderr


def test_without_the_sites_address_there_is_no_letter(office):
    office.app.config["BASE_URL"] = ""
    assert "KAKUNIN_BASE_URL" in office.print([LETTER]).stderr


def test_more_letters_than_are_set_at_once_keep_their_order(office, monkeypatch):
    monkeypatch.setattr(printing, "PAGES", 2)
    names = ["一郎", "二郎", "三郎", "四郎", "五郎"]
    office.print(people(*({"氏名": name} for name in names)))
    assert [next(n for n in names if n in page) for page in office.pages] == names


def test_the_server_holds_nothing_of_what_prints():
    program = "import app, sys; app.create_app(); print({'typst', 'pypdf'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def addresses(clerk):
    return {row["氏名"]: row["住所"] for row in clerk.letters}


def test_letters_have_the_address_of_whom_they_go_to_and_nothing_stores_it(clerk):
    home = "東京都千代田区見本町1-2-3"
    rows = [
        HEAD | {"住所": home},
        WIFE | {"住所": "北海道見本市9-9"},
        CHILD | {"住所": ""},
        OTHER | {"住所": "", "加入者ID": ""},
        OTHER
        | {"住所": "沖縄県見本市8", "氏名": "戸田 かえで", "枝番": "01", "本人家族区分": "家族"},
    ]
    clerk.roster(rows)
    assert addresses(clerk) == {
        "佐倉 直人": home,
        "佐倉 美咲": home,
        "佐倉 蓮": home,
        "戸田 さくら": "",
        "戸田 かえで": "沖縄県見本市8",
    }
    assert not any(home in str(row) for row in Member.select().dicts())


def test_a_dependent_who_comes_later_has_the_address_of_their_own_row(clerk):
    clerk.roster([HEAD | {"住所": "東京都千代田区見本町1-2-3"}])
    clerk.roster([CHILD | {"住所": "東京都新宿区見本町4"}])
    assert addresses(clerk) == {"佐倉 蓮": "東京都新宿区見本町4"}


def test_an_address_alone_changes_nobody(clerk):
    clerk.roster([HEAD, WIFE])
    done = clerk.roster([HEAD | {"住所": "東京都新宿区見本町4"}, WIFE])
    assert (done["changed"], done["unchanged"]) == (0, 2)


def test_letters_of_a_roster_without_addresses_have_no_such_column(clerk):
    clerk.roster([{name: value for name, value in HEAD.items() if name != "住所"}])
    assert list(clerk.letters[0])[-1] == "事業所名称"


def test_what_somebody_writes_meanwhile_is_not_overwritten(tmp_path):
    file = NewFile(tmp_path / "letters.csv")
    file.refuse_existing()
    file.part.write_text("another's", "utf-8")
    with pytest.raises(FileExistsError):
        file.fill(lambda out: out.write(b"x"))
    assert file.part.read_text("utf-8") == "another's"

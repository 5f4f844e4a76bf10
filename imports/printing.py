"""Print the letters: read the credentials file back, and let typst set one A4 page for each
person."""

from __future__ import annotations

import csv
import functools
import io
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import segno

from accounts.keys import LETTERS, SYMBOLS, fold_typed, grouped
from imports.letters import ADDRESS, COLUMNS, CannotWrite
from roster.findings import Findings, plain_cell
from roster.reading import Unreadable

if TYPE_CHECKING:
    import typst

TEMPLATE = Path(__file__).resolve().parent.parent / "templates" / "letter" / "letter.typ"
FONTS = ("Noto Sans CJK JP", "Noto Sans Mono CJK JP")
LONGEST = 100
"""The most characters that a cell may have, as in the roster."""
PAGES = 50
"""Letters set in one run. typst remembers its last ten runs, at about 0.6 MB a page."""
TOO_LONG = "--text の文章が長すぎて、お手紙の1枚に入りません。短くしてください。"
_GAIJI = re.compile(r"[\ue000-\uf8ff\U000f0000-\U0010ffff]")
"""The Private Use Area. A font may show anything for these characters, so 〓 is printed instead."""
_LOGIN = re.compile(f"[{LETTERS}][2-9]{{9}}")
_PASSWORD = re.compile(f"[{LETTERS}][{SYMBOLS}]{{13}}")


def text_of(path: Path) -> str:
    """Return the text of a file in UTF-8 or CP932. Raise Unreadable, and OSError."""
    content = path.read_bytes()
    for encoding in ("utf-8-sig", "cp932"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise Unreadable(
        f"{path.name} に、文字として読めないバイトがあります。UTF-8で保存し直してください。"
    )


def read_letters(
    path: Path, insurers: dict[str, dict[str, Any]], findings: Findings
) -> list[dict[str, Any]]:
    """Return the letters of a credentials file in its order, as the template needs them.

    Faults are added to `findings`, with the line that Excel shows. Raise Unreadable if the file as
    a whole cannot be read, and OSError.
    """
    try:
        header, *rows = csv.reader(io.StringIO(text_of(path), newline=""), strict=True)
    except (csv.Error, ValueError):
        raise Unreadable(
            f'{path.name} は空か、閉じていない引用符（"）があります。取り込みで書き出した通知のファイルを選んでください。'
        ) from None
    titles = [cell.strip() for cell in header]
    _check_titles(titles, findings)
    if findings.errors:
        return []
    letters = []
    for line, row in enumerate(rows, 2):
        if not any(map(str.strip, row)):
            continue
        if len(row) == len(titles):
            letters.append(_letter(line, dict(zip(titles, row, strict=True)), insurers, findings))
        else:
            findings.error(
                line,
                titles[0],
                row[0],
                f"セルが{len(row)}個あります。見出しと同じ{len(titles)}個にしてください",
            )
    if not letters and not findings.errors:
        raise Unreadable(f"{path.name} には、見出しだけで、お手紙にする人がありません。")
    _check_twice(letters, findings)
    return letters


def _check_titles(titles: list[str], findings: Findings) -> None:
    for title in COLUMNS:
        if title not in titles:
            findings.error(
                1, title, "", "この列がありません。取り込みで書き出した見出しのままにしてください"
            )
    for title, count in Counter(titles).items():
        if title not in (*COLUMNS, ADDRESS):
            findings.error(1, title, title, "知らない列です。この列を取り除いてください")
        elif count > 1:
            findings.error(1, title, title, "同じ列が2つあります。1つにしてください")


def _letter(
    line: int, row: dict[str, str], insurers: dict[str, Any], findings: Findings
) -> dict[str, Any]:
    cells = {title: _plain(cell) for title, cell in row.items()}
    login, password = fold_typed(cells["ログインID"]), fold_typed(cells["仮パスワード"])
    insurer = fold_typed(cells["保険者番号"]).zfill(8)
    changed = "取り込みで書き出したものと違う形です。書き出したファイルからやり直してください"
    for title, fits, value, text in (
        ("ログインID", _LOGIN.fullmatch(login), login, changed),
        ("仮パスワード", _PASSWORD.fullmatch(password), "（表示しません）", changed),
        (
            "保険者番号",
            insurer in insurers,
            insurer,
            f"このシステムの保険者ではありません。{'、'.join(sorted(insurers))} のいずれかにしてください",
        ),
        ("氏名", cells["氏名"], "", "空です。必ず入力してください"),
    ):
        if not fits:
            findings.error(line, title, value, text)
    for title in ("氏名", "宛名", "事業所名称", ADDRESS):
        _check_text(line, title, cells.get(title, ""), findings)
    if not cells["宛名"]:
        findings.warning(line, "宛名", "", "空です。氏名を宛名にしました")
    cells = {title: re.sub(_GAIJI, "〓", cell) for title, cell in cells.items()}
    return {
        "line": line,
        "login": grouped(login),
        "password": grouped(password),
        "insurer": insurer,
        "name": cells["氏名"],
        "addressee": cells["宛名"] or cells["氏名"],
        "family": cells["宛名"] not in ("", cells["氏名"]),
        "workplace": cells["事業所名称"],
        "address": cells.get(ADDRESS, ""),
    }


def _plain(cell: str) -> str:
    """Return a cell as it is printed.

    Remove the apostrophe that keeps a spreadsheet from reading the cell as a formula, and invisible
    characters, some of which reverse the text next to them. Replace line breaks by spaces.
    """
    if cell.startswith("'") and plain_cell(cell[1:]) == cell:
        cell = cell[1:]
    cell = re.sub(r"[^\S\u3000]+", " ", cell)
    joiners = "\u200c\u200d"  # some scripts need them
    return "".join(
        c for c in cell if c in joiners or unicodedata.category(c) not in ("Cc", "Cf")
    ).strip()


def _check_text(line: int, title: str, text: str, findings: Findings) -> None:
    if len(text) > LONGEST:
        findings.error(
            line, title, text, f"{len(text)}文字あります。{LONGEST}文字以内にしてください"
        )
    if any(map(_is_foreign, text)):
        findings.warning(
            line,
            title,
            text,
            "サーバーの書体にない文字です（外字は〓になります）。印刷を確かめ、書き入れてください",
        )


def _is_foreign(character: str) -> bool:
    """Return whether a character is certainly not in fonts-noto-cjk: 外字, and scripts that are
    written from right to left."""
    right_to_left = unicodedata.bidirectional(character) in ("R", "AL")
    return (
        unicodedata.category(character) in ("Co", "Cn")
        or right_to_left
        or "\ufb50" <= character <= "\ufdff"
    )


def _check_twice(letters: list[dict[str, Any]], findings: Findings) -> None:
    seen: dict[str, int] = {}
    for letter in letters:
        first = seen.setdefault(letter["login"], letter["line"])
        if first != letter["line"]:
            findings.error(
                letter["line"],
                "ログインID",
                letter["login"],
                f"{first}行目と同じIDです。片方を取り除いてください",
            )


@functools.cache
def machine_fonts() -> typst.Fonts:
    """Return the fonts of this machine. They are searched for only once."""
    import typst  # 80 MB, which no server should hold

    return typst.Fonts()


def missing_fonts() -> list[str]:
    """Return which of FONTS this machine lacks."""
    known = machine_fonts().families()
    return [font for font in FONTS if font not in known]


def pages(
    letters: list[dict[str, Any]], insurers: dict[str, dict[str, Any]], site: str, text: str
) -> Iterator[bytes]:
    """Yield PDFs of up to PAGES letters each, one page a letter.

    `site` is the login page's address, `text` the insurer's own. Raise CannotWrite if a font is
    missing or the text is too long for its place.
    """
    import typst

    if missing := missing_fonts():
        raise CannotWrite(
            f"書体 {missing[0]} がこのサーバーにありません。管理者の方が apt-get install fonts-noto-cjk で入れられます。"
        )
    code = io.BytesIO()
    segno.make(site, error="m").save(code, kind="svg", border=4)
    given = {
        "insurers": insurers,
        "site": site,
        "text": text.strip().expandtabs(2).splitlines(),
        "refusal": TOO_LONG,
    }
    compiler = typst.Compiler(TEMPLATE, root=TEMPLATE.parent, font_paths=machine_fonts())
    for start in range(0, len(letters), PAGES):
        data = json.dumps(given | {"people": letters[start : start + PAGES]})
        inputs = {"data": data, "qr": code.getvalue().decode()}
        try:
            part = compiler.compile(format="pdf", sys_inputs=inputs, pdf_tags=False)
            assert isinstance(part, bytes)  # it is a list only if each page is a file
            yield part
        except typst.TypstError as failed:
            if TOO_LONG in str(failed):
                raise CannotWrite(TOO_LONG) from None
            raise

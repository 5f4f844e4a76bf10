"""Tests of first maps: what `flask roster columns` guesses, how it is written, and that it reads
back."""

import contextlib
import csv
import io
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dates import in_words
from roster.columns import TITLES
from roster.guess import Guess
from roster.header import ALIASES
from roster.mapping import MAP_TITLES
from roster.reading import Unreadable
from tests.support.exports import FAMILIES, ISSUED, people, short, workbook
from tests.support.office import checked
from tests.test_roster import INSURERS, TODAY


@pytest.mark.parametrize("name", FAMILIES)
def test_a_first_map_is_private_never_overwrites_and_reads_the_same_or_more(clerk, tmp_path, name):
    path, out = tmp_path / "export.csv", tmp_path / "map.csv"
    path.write_bytes(FAMILIES[name])
    done = clerk.run("roster", "columns", path, "--out", out)
    assert done.exit_code == 0, done.output
    assert "必須の項目" not in done.output
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    with out.open(encoding="utf-8-sig", newline="") as file:
        assert next(csv.reader(file)) == list(MAP_TITLES)
    saved = tmp_path / "saved.csv"
    saved.write_bytes(out.read_text("utf-8-sig").encode("cp932"))  # as Excel saves it
    rows, found = checked(path, INSURERS, TODAY, columns=saved)
    assert rows[0]["household"].startswith("06139463\t1001\t")
    if name not in ("b_core", "d_nohead"):
        plain, plainly = checked(path, INSURERS, TODAY)
        assert (rows, found.errors) == (plain, plainly.errors)
    before = out.read_bytes()
    assert clerk.run("roster", "columns", path, "--out", out).exit_code == 1
    assert out.read_bytes() == before


def test_a_first_map_asks_for_what_it_cannot_know(clerk, tmp_path):
    path, out = tmp_path / "export.csv", tmp_path / "map.csv"
    path.write_text(
        ISSUED.replace("本人家族区分", "続柄コード")
        .replace(",1,1,", ",8,21,")
        .replace("記号", "元号")
    )
    done = clerk.run("roster", "columns", path, "--out", out)
    assert done.exit_code == 0
    with out.open(encoding="utf-8-sig", newline="") as file:
        rows = {(row["項目"], row["ファイルの値"]): row for row in csv.DictReader(file)}
    assert rows["性別", "8"]["読み替え"] == rows["本人家族区分", "21"]["読み替え"] == "？"
    done = clerk.roster(path, "--columns", out, command="check")
    assert (done["exit"], done["errors"]) == (1, 1)
    assert "読み替え「？」は使えない値です" in done["out"]


def test_of_two_columns_that_mean_the_same_a_first_map_takes_one(tmp_path):
    path, out = tmp_path / "export.csv", tmp_path / "map.csv"
    twice = ISSUED.replace("記号,", "記号,被保険者証記号,").replace("1001,", "1001,X9,")
    twice = twice.replace("性別", "=性別")  # a map is no place for formulas
    path.write_text(twice.replace("氏名", "姓,名").replace("見本　", "見本,"))
    rows, found = mapped(path, out)
    assert (found.errors, found.warnings) == (0, 0), found.messages
    assert (rows[0]["symbol"], rows[0]["name"]) == ("1001", "見本　太郎")
    assert "記号はほかの列から読みます。例: X9" in out.read_text()
    assert ",'=性別," in out.read_text()


def mapped(path, out):
    """Guess a first map, write it, and return the people that it reads, and the findings."""
    out.unlink(missing_ok=True)
    Guess(path, INSURERS, TODAY).write(out)
    return checked(path, INSURERS, TODAY, columns=out)


TITLED = {
    "insurer_number": ["保険者番号(8桁)"],
    "symbol": ["被保険者証の記号"],
    "number": ["被保険者証の番号"],
    "name": ["被保険者氏名", "氏名(漢字)"],
    "kana": ["氏名(カナ)", "ﾌﾘｶﾞﾅ"],
    "sex": ["性別CD", "性別名称"],
    "relation": ["続柄", "本人・家族区分"],
    "birth_date": ["生年月日(和暦)"],
    "qualified_on": ["資格取得日(西暦)"],
    "lost_on": ["資格喪失日(西暦)"],
    "workplace": ["会社名"],
    "delivery": ["資格確認書交付区分"],
    "issued_on": ["発行年月日"],
    "expires_on": ["有効期限日"],
}
"""Titles that no list knows."""
ORDERS = (
    "relation name kana sex birth_date",
    "name kana birth_date sex relation",
    "name sex birth_date relation",
)


@st.composite
def arranged(draw):
    """Draw people, and a file of them as systems arrange their exports, with titles or without."""
    drawn = draw(people())
    for i, one in enumerate(drawn):
        one |= {"relation": 1 if i == 0 else 2, "sex": 1 + i % 2, "symbol": "1001", "number": "123"}
        one |= {"workplace": "見本商事", "lost_on": None}
    order = (
        f"insurer_number symbol number branch {draw(st.sampled_from(ORDERS))} qualified_on".split()
    )
    if draw(st.booleans()):
        order += ["workplace", "issue_reason", "delivery", "issued_on", "expires_on"]
    day = draw(st.sampled_from([lambda d: f"{d:%Y%m%d}", lambda d: f"{d:%Y/%m/%d}", in_words]))
    apart, titled, last = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    above = draw(st.integers(0, 2)) if titled else 0

    def texts(one):
        found = one | {"issue_reason": "2", "delivery": "WEB"}
        found |= {"issued_on": "20251115", "expires_on": "20281201"}
        found |= {"birth_date": day(one["birth_date"]), "qualified_on": day(one["qualified_on"])}
        if apart:
            era = in_words(one["birth_date"])[: draw(st.sampled_from([1, 2]))]
            found |= {"birth_date": short(one["birth_date"]), "era": era}
        if titled and one["relation"] == 2:
            found["relation"] = draw(st.sampled_from(["妻", "長男"]))
        return found

    if apart:
        order.insert(order.index("birth_date"), "era")
    names = {
        n: [t.japanese, *ALIASES.get(n, "").split(), *TITLED.get(n, [])] for n, t in TITLES.items()
    }
    rows = [[texts(one)[n] for n in order] for one in drawn]
    if titled:
        titles = [draw(st.sampled_from(names.get(n, ["元号"]))) for n in order]
        rows = [*[["加入者一覧", *[""] * (len(order) - 1)]] * above, titles, *rows]
    if last:
        rows.append(["合計", f"{len(drawn)}件", *[""] * (len(order) - 2)])
    if draw(st.booleans()):
        return drawn, order, workbook(rows)
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return drawn, order, out.getvalue().encode("cp932")


@settings(deadline=None, max_examples=120)
@given(arranged())
def test_a_first_map_of_a_usual_export_reads_back_to_the_same_people(tmp_path_factory, example):
    drawn, order, content = example
    path, out = (tmp_path_factory.getbasetemp() / name for name in ("arranged", "first"))
    path.write_bytes(content)
    rows, found = mapped(path, out)
    assert found.errors == 0, (found.messages, out.read_text())
    assert ("交付事由" in out.read_text()) == ("issue_reason" in order)
    for one, row in zip(drawn, rows, strict=True):
        for name in set(order) & row.keys() & one.keys():
            value = one[name]
            assert row[name] == (value.isoformat() if hasattr(value, "year") else value), name


WORDS = " 0 1 00 昭和 S 550512 20150401 99999999 佐倉直人 ｻｸﾗ WEB 合計 06139463 男 妻 生年月日 元号 氏名 続柄 =1 é C列 * 10.5 2割"
cells = st.sampled_from(WORDS.split(" ")) | st.text(max_size=4)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.lists(cells, max_size=7), max_size=9))
def test_of_whatever_table_a_first_map_is_made_or_refused_in_a_sentence(tmp_path_factory, rows):
    path, out = (tmp_path_factory.getbasetemp() / name for name in ("any", "anys"))
    with path.open("w", newline="", errors="replace") as file:
        csv.writer(file).writerows(rows)
    with contextlib.suppress(Unreadable):  # nothing else is raised
        mapped(path, out)

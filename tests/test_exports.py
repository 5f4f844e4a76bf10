"""Tests of the files that insurers really have: the families of exports, titles and values of other
systems, maps of columns, and first maps."""

import datetime as dt
import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings

from models import Member
from roster.columns import TITLES
from roster.header import ALIASES, NAMES, folded_title, is_my_number
from roster.reading import Unreadable
from tests.support.exports import (
    CORE,
    FAMILIES,
    ISSUED,
    NO_TITLES,
    map_of,
    through_a_map,
    under_other_titles,
    workbook,
)
from tests.support.office import checked
from tests.test_roster import INSURERS, PERSON, TODAY

CORE_MAP = (
    ("見出しの行", "3"),
    ("読まない行", "", "合計"),
    ("本人家族区分", "続柄", "妻", "家族"),
    ("生年月日", "生年月日"),
    ("生年月日の元号", "生年月日元号"),
)
FAMILY = [
    ("06139463\t1001\t{}", "見本　太郎", "1980-05-12", 1, 1),
    ("06139463\t1001\t{}", "見本　花子", "1982-07-03", 2, 2),
]
KEYS = ("household", "name", "birth_date", "sex", "relation")


@pytest.fixture
def read(tmp_path):
    """read(content, columns=None) gives the checked rows as dicts, and the findings."""

    def read(content, columns=None, **options):
        path, mapped = tmp_path / "export.csv", tmp_path / "map.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        if columns is not None:
            mapped.write_bytes(columns if isinstance(columns, bytes) else columns.encode())
            options["columns"] = mapped
        return checked(path, INSURERS, TODAY, **options)

    return read


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_of_exports_is_checked_with_what_it_needs(clerk, tmp_path, name):
    path, mapped, listed = (tmp_path / name for name in ("export.csv", "map.csv", "list.csv"))
    path.write_bytes(FAMILIES[name])
    extra = []
    if name in ("b_core", "d_nohead"):
        assert clerk.run("roster", "columns", path, "--out", mapped).exit_code == 0
        extra = ["--columns", mapped]
    if name in ("a_oqs", "b_core", "d_nohead", "i_nodelivery"):  # they do not say who gets one
        number = "000123" if name in ("a_oqs", "d_nohead") else "123"
        listed.write_text(f"保険者番号,記号,番号,枝番,交付事由\n06139463,1001,{number},00,2\n")
        extra += ["--targets", listed, "--issued-on", "2025-11-15", "--expires-on", "2028-12-01"]
    done = clerk.roster(path, *extra, command="check")
    wrong = {
        "a_oqs": [
            "line 3, column 発効期日, value : 空です。一部負担金の割合があるときは発効期日を入力してください"
        ],
        "c_values": [
            "line 3, column 生年月日, value 3 57.07.03: 日付として読めません。",
            "line 4, column 生年月日, value 4270712: 先頭の元号コード 4 は使えません",
        ],
    }.get(name, [])
    lines = done["out"].splitlines()
    found = [line for line in lines if line.startswith("line ") and "（警告）" not in line]
    assert done["errors"] == len(found) == len(wrong), done["out"]
    assert all(line.startswith(start) for line, start in zip(found, wrong, strict=True)), found
    assert wrong or "資格確認書: WEB 1人" in done["out"]
    fillers = {"a_oqs": 1, "b_core": 4, "c_values": 4}.get(name, 0)  # b_core: two branches as well
    assert done["repaired"] == fillers, done["out"]


def test_every_other_title_is_known_and_none_twice():
    aliases = [(name, text) for name, texts in ALIASES.items() for text in texts.split()]
    for name, text in aliases:
        assert NAMES[folded_title(text)] == name
        assert NAMES[folded_title(f" {text.upper()} ")] == name
    folded = [folded_title(text) for _, text in aliases]
    assert len(folded) == len(set(folded))
    assert not {"続柄", "続柄コード", "有効開始年月日"} & NAMES.keys()


def test_other_systems_titles_are_read_and_named_as_the_file_has_them(read):
    rows, found = read(
        FAMILIES["g_noreason"].replace("資格取得年月日".encode(), "認定年月日".encode())
    )
    assert (found.errors, rows[0]["delivery"], rows[0]["qualified_on"]) == (0, "web", "2015-04-01")
    _, found = read(
        ISSUED.replace("記号", "被保険者証記号").replace(",1,1,", ",9,1,").replace("性別", "性別1")
    )
    assert found.messages[0].startswith("line 2, column 性別1, value 9")


def test_two_columns_that_mean_the_same_are_an_error_that_names_both(read):
    _, found = read(
        "記号,被保険者証記号,"
        + ISSUED.replace("記号,", "").replace("\n06139463,1001", "\n1,2,06139463")
    )
    assert found.errors == 1
    assert found.messages[0].startswith("line 1, column 被保険者証記号, value 被保険者証記号")
    assert "「記号」と「被保険者証記号」" in found.messages[0]


def test_fillers_count_as_repaired_and_only_for_the_loss(read):
    _, found = read(FAMILIES["c_values"])
    assert (found.repaired, found.repairs["資格喪失年月日"][0]) == (4, 4)
    assert "9999/12/31: 空 として読みました" in found.repairs["資格喪失年月日"][1]
    _, found = read(ISSUED.replace("20281201", "99999999"))
    assert (found.errors, found.repaired) == (1, 0)


MINE = [
    "個人番号",
    "マイナンバー",
    "個人番号(マイナンバー)",
    "マイナンバー（個人番号）",
    "ﾏｲﾅﾝﾊﾞｰ",
    "被保険者 個人番号",
    "個人番号（１２桁）",
    "マイナンバー（任意）",
    "MyNumber",
    "MY NUMBER",
    "my_number",
    "Individual Number",
]


@pytest.mark.parametrize("title", MINE)
@pytest.mark.parametrize("column", ["", "住所"])
def test_a_column_of_my_number_refuses_the_file_before_anything_is_kept(
    clerk, tmp_path, title, column
):
    path, out = tmp_path / "roster.csv", tmp_path / "map.csv"
    head, row = ISSUED.splitlines()
    path.write_text(f"{head},{column},{title}\n{row},,123456789018\n")
    mapped = tmp_path / "own.csv"
    mapped.write_text(map_of(("番号", "番号"), ("", title)))
    for extra in ([], ["--columns", mapped]):
        done = clerk.roster(path, *extra)
        assert (done["exit"], done["errors"], done["added"]) == (1, 1, 0)
        assert "マイナンバー" in done["out"].splitlines()[0]
        assert "1234" not in done["out"]
        assert not Member.select().exists()
    done = clerk.run("roster", "columns", path, "--out", out)
    assert done.exit_code == 1
    assert "マイナンバー" in done.output
    assert not out.exists()


def test_the_list_of_who_gets_a_certificate_is_read_as_an_export_is(clerk, tmp_path):
    path, listed = tmp_path / "roster.csv", tmp_path / "list.xlsx"
    path.write_text(
        ISSUED.replace("交付事由,交付方法,交付年月日,有効期限", "備考").replace(
            "2,WEB,20251115,20281201", ""
        )
    )
    titles = ["保険者番号", "被保険者証等記号", "証番号", "枝番号", "交付事由"]
    days = ["--targets", listed, "--issued-on", "2025-11-15", "--expires-on", "2028-12-01"]
    listed.write_bytes(workbook([titles, [6139463, 1001, 123, 0, 2]]))
    done = clerk.roster(path, *days)
    assert (done["exit"], done["added"]) == (0, 1), done["out"]
    assert Member.get().delivery == "web"
    for extra, says in (("個人番号", "マイナンバー"), ("記号", "「被保険者証等記号」と「記号」")):
        listed.write_bytes(workbook([[*titles, extra], [6139463, 1001, 123, 0, 2, 1]]))
        done = clerk.roster(path, *days)
        assert (done["exit"], done["errors"]) == (1, 1), done["out"]
        assert says in done["out"]


def test_a_title_that_only_speaks_of_my_number_is_none():
    for title in (
        "マイナンバーカードの有無",
        "番号",
        "個人枝番",
        "個人番号カード",
        "マイナンバー利用登録",
    ):
        assert not is_my_number(title), title


def test_titles_further_down_and_an_era_of_its_own_are_read_by_a_map(read):
    rows, found = read(FAMILIES["b_core"], map_of(*CORE_MAP).encode("cp932"))
    assert (found.errors, found.warnings) == (0, 0), found.messages
    assert [tuple(row[key] for key in KEYS) for row in rows] == [
        (key.format("123"), *rest) for key, *rest in FAMILY
    ]
    assert [row["line"] for row in rows] == [4, 5]
    by_column = map_of(CORE_MAP[0], ("読まない行", "保険者番号", "合計"), *CORE_MAP[2:])
    assert read(FAMILIES["b_core"], by_column)[0] == rows
    wrong = CORE.replace("550512", "550532").replace("女性", "女子")
    _, found = read(wrong, map_of(*CORE_MAP))
    assert [m.partition(":")[0] for m in found.messages] == [
        "line 4, column 生年月日, value 昭和 550532",
        "line 5, column 性別, value 女子",
    ]


def test_a_file_without_titles_is_read_by_position_and_named_by_excels_letters(read):
    columns = map_of(
        ("見出しの行", "なし"),
        ("読まない行", "1", "T"),
        ("保険者番号", "2"),
        ("記号", "3列"),
        ("番号", "列4"),
        ("枝番", "Ｅ"),
        ("氏名", "F"),
        ("生年月日の元号", "H列"),
        ("生年月日", "i"),
        ("性別", "10"),
        ("本人家族区分", "K"),
        ("資格取得年月日", "L"),
    )
    rows, found = read(NO_TITLES, columns)
    assert (found.errors, found.warnings) == (0, 0), found.messages
    assert [tuple(row[key] for key in KEYS) for row in rows] == [
        (key.format("000123"), *rest) for key, *rest in FAMILY
    ]
    _, found = read(NO_TITLES.replace(",2,2,", ",2,子,"), columns)
    assert [m.partition(":")[0] for m in found.messages] == ["line 2, column K列, value 子"]
    _, found = read(NO_TITLES.replace(",20281231", ""), columns)
    assert "line 2, column A列" in found.messages[0]
    assert "12個" in found.messages[0]


def test_a_row_that_the_map_passes_over_is_counted_and_told(clerk, tmp_path):
    path, mapped = tmp_path / "core.csv", tmp_path / "map.csv"
    path.write_text(CORE.replace(",有効期限\n", ",備考\n"))
    mapped.write_text(map_of(*CORE_MAP, ("", "備考")))
    done = clerk.roster(path, "--columns", mapped)
    assert (done["added"], done["errors"], done["warnings"]) == (2, 0, 0), done["out"]
    assert "「読まない行」は1行ありました" in done["out"]
    done = clerk.roster(path, "--columns", mapped)
    assert (done["unchanged"], done["errors"]) == (2, 0)


def test_the_map_that_the_clerks_page_explains_is_one(read):
    lines = (Path(__file__).parent.parent / "docs/roster.md").read_text().splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("| 項目 |")) + 2
    rows = [
        [cell.strip().replace("（空）", "") for cell in line.strip("|").split("|")]
        for line in itertools.takewhile(lambda line: line.startswith("|"), lines[begin:])
    ]
    text = """\
一覧
作成日
証記号,番号,姓,名,元号,生年月日,性別CD,続柄,取得日,住所
1001,123,見本,太郎,昭,550512,01,本人,20150401,東京都
合計 1件
"""
    read_back, found = read(text, map_of(*rows))
    assert (found.errors, found.warnings) == (0, 0), found.messages
    assert [tuple(row[key] for key in KEYS) for row in read_back] == [
        (FAMILY[0][0].format("123"), *FAMILY[0][1:3], 1, 2)
    ]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (("電話", "証記号"), "8行目: 「電話」という項目はありません"),
        (("番号", "証の番号"), "8行目: 「証の番号」という列はファイルにありません"),
        (("番号", "Z"), "8行目: 「Z」という列はファイルにありません"),
        (("番号", "0"), "8行目: 「0」という列はファイルにありません"),
        (("", "", "1", "男"), "8行目: 「項目」も「ファイルの列」も空です"),
        (("番号", ""), "8行目: 「ファイルの列」が空です"),
        (("性別", "性別", "9", "？"), "8行目: 読み替え「？」は使えない値です"),
        (("性別", "性別", "9", ""), "8行目: 読み替え「」は空です"),
        (("本人家族区分", "続柄", "妻", "本人"), "8行目: 「妻」の読み替えが2つあります"),
        (("交付年月日の元号", "A"), "8行目: 「交付年月日」の行もいります"),
        (("生年月日の元号", "", "9", "江戸"), "8行目: 「江戸」は元号ではありません"),
        (("見出しの行", "三"), "8行目: 見出しが何行目か"),
        (("読まない行", "保険者番号"), "8行目: 「ファイルの値」が空です"),
        (("本人家族区分", "性別"), "8行目: この項目にはもう列があります"),
        (("生年月日の元号", "性別"), "8行目: この項目にはもう列があります"),
        (("個人番号", "番号"), "8行目: マイナンバーは取り扱えません"),
    ],
)
def test_what_is_wrong_with_a_map_is_told_by_its_line(read, row, says):
    with pytest.raises(Unreadable, match=f"の{says}"):
        read(CORE, map_of(*CORE_MAP, ("",), row))


def test_all_that_is_wrong_with_a_map_is_told_at_once(read):
    with pytest.raises(Unreadable) as told:
        read(CORE, map_of(*CORE_MAP, ("電話", "A"), ("性別", "性別", "9", "？"), ("番号", "")))
    assert [line.partition(":")[0] for line in str(told.value).splitlines()] == [
        f"map.csvの{n}行目" for n in (7, 8, 9)
    ]
    with pytest.raises(Unreadable, match="の1行目は"):
        read(CORE, "番号,証番号\n")


def test_a_title_that_stands_twice_must_be_named_by_its_letter(read):
    text = CORE.replace("生年月日元号", "元号").replace("事業所名", "元号")
    with pytest.raises(Unreadable, match="「元号」の列が2つあります。I列、M列"):
        read(text, map_of(*CORE_MAP[:-1], ("生年月日の元号", "元号")))
    rows, found = read(text, map_of(*CORE_MAP[:-1], ("生年月日の元号", "I列")))
    assert (found.errors, rows[0]["birth_date"]) == (0, "1980-05-12")


def test_a_value_may_stand_for_another_and_an_empty_cell_too(read):
    columns = map_of(
        ("交付方法", "交付方法", "1", "WEB"),
        ("交付方法", "", "2", "紙"),
        ("交付事由", "交付事由", "", "2"),
        ("性別", "性別", "*", "裏面参照"),
    )
    rows, found = read(ISSUED.replace(",2,WEB", ",,01").replace(",1,1,", ",X,1,"), columns)
    assert (found.errors, rows[0]["delivery"], rows[0]["sex"]) == (0, "web", 3), found.messages
    _, found = read(ISSUED.replace(",2,WEB", ",,3"), columns)
    assert found.messages[0].startswith("line 2, column 交付方法, value 3: 使えない値です")


def test_a_day_may_stand_in_three_columns_and_its_filler_be_read_as_nothing(read):
    text = ISSUED.replace("生年月日", "年,月,日").replace("19800512", "55,5,12")
    text = text.replace("交付事由", "喪失,交付事由").replace(",2,WEB", ",0000000,2,WEB")
    columns = [("生年月日", part) for part in "年月日"]
    columns += [("資格喪失年月日", "喪失", "0000000", "")]
    rows, found = read(
        text.replace("有効期限", "有効期限,元号").replace("20281201", "20281201,3"),
        map_of(*columns, ("生年月日の元号", "元号", "3", "昭和")),
    )
    assert (found.errors, rows[0]["birth_date"], rows[0]["lost_on"]) == (0, "1980-05-12", None)
    rows, found = read(text.replace("55,5", "1980,5"), map_of(*columns))
    assert (found.errors, rows[0]["birth_date"]) == (0, "1980-05-12")


def assert_same(drawn, rows, found):
    assert found.errors == 0, found.messages
    for one, row in zip(drawn, rows, strict=True):
        for name, value in one.items():
            wanted = value.isoformat() if isinstance(value, dt.date) else value
            assert row[name] == wanted, (name, row)


@settings(deadline=None, max_examples=120)
@given(under_other_titles())
def test_a_roster_under_any_titles_in_any_form_reads_back_to_the_same_people(
    tmp_path_factory, example
):
    drawn, content = example
    path = tmp_path_factory.getbasetemp() / "titles"
    path.write_bytes(content)
    assert_same(drawn, *checked(path, INSURERS, TODAY))


@settings(deadline=None, max_examples=120)
@given(through_a_map())
def test_a_roster_through_any_map_reads_back_to_the_same_people(tmp_path_factory, example):
    drawn, content, mapped = example
    path, columns = (tmp_path_factory.getbasetemp() / name for name in ("mapped", "columns"))
    path.write_bytes(content)
    columns.write_bytes(mapped)
    rows, found = checked(path, INSURERS, TODAY, columns=columns)
    assert found.warnings == sum(one["sex"] == 3 for one in drawn), found.messages
    assert_same(drawn, rows, found)


def test_every_title_of_the_roster_is_an_item_of_a_map(read):
    row = ",".join(f"見出し{i}" for i in range(len(PERSON)))
    cells = ",".join(PERSON.values())
    rows, found = read(
        f"{row}\n{cells}\n", map_of(*((title, f"見出し{i}") for i, title in enumerate(PERSON)))
    )
    assert (found.errors, found.warnings, len(rows)) == (0, 0, 1), found.messages
    assert PERSON.keys() == {title.japanese for title in TITLES.values()}

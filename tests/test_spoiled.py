"""Tests of cells and files that Excel, databases and old programs changed: what is put right is
counted, and nothing wrong is taken in silence."""

import pytest

from roster.header import are_my_numbers
from roster.reading import Unreadable
from tests.support.exports import map_of
from tests.support.office import checked, text_of
from tests.test_roster import INSURERS, PERSON, TODAY

SECOND = PERSON | {"加入者ID": "A2", "番号": "2048", "氏名": "戸田 さくら"}


@pytest.fixture
def read(tmp_path):
    """read(rows, text or bytes, columns=map) gives the checked rows as dicts, and the findings."""

    def read(content, columns=None):
        path, mapped = tmp_path / "export.csv", tmp_path / "map.csv"
        content = text_of(content) if isinstance(content, list) else content
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        if columns:
            mapped.write_text(columns, encoding="utf-8")
        return checked(path, INSURERS, TODAY, columns=mapped if columns else None)

    return read


@pytest.mark.parametrize(
    ("change", "repaired"),
    [
        ({"番号": '="1024"'}, 1),
        ({"番号": "'1024", "記号": "'128", "枝番": "'00"}, 3),
        ({"番号": "1024.0", "記号": "128.00", "性別": "1.0", "保険者番号": "6139463.0"}, 4),
        ({"枝番": "0.0", "生年月日": "19790612.0", "交付事由": "2.0"}, 3),
        ({"氏名": '="佐倉 直人"', "事業所名称": '="見本工業株式会社"'}, 2),
        ({"備考": "NULL", "資格喪失年月日": "(null)", "住所": "\\N"}, 3),
        ({name: f'="{text}"' for name, text in PERSON.items()}, len(PERSON)),
        ({"交付事由": "(2)"}, 1),
        ({"交付事由": "②　利用登録をしていない"}, 1),
        ({"交付事由": "②利用登録をしていない"}, 1),
        ({"交付事由": "2：利用登録をしていない"}, 1),
        ({"交付事由": "02"}, 1),
        ({"交付方法": "電磁的"}, 0),
        ({"交付方法": "ウェブ"}, 0),
        ({"有効期限": "令和10年12月1日(金)", "交付年月日": "2025/11/15（土）"}, 0),
        *(
            ({"資格喪失年月日": never}, 1)
            for never in (
                "9999-12-31 00:00:00.000",
                "0000-00-00",
                "平成99年12月31日",
                "H99.99.99",
                "4999999",
            )
        ),
    ],
)
def test_what_other_programs_did_to_a_cell_is_put_right_and_counted(read, change, repaired):
    rows, found = read([PERSON | change])
    assert (found.errors, found.repaired) == (0, repaired), found.messages
    assert rows == read([PERSON])[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"記号": "1月2日"}, "Excelが日付に変えています"),
        ({"記号": "2026/1/2"}, "Excelが日付に変えています"),
        ({"記号": "2026-01-02"}, "Excelが日付に変えています"),
        ({"番号": "2-Jan"}, "Excelが日付に変えています"),
        ({"事業所名称": "#N/A"}, "Excelのエラー"),
        ({"氏名": "#REF!"}, "Excelのエラー"),
        ({"生年月日": "########"}, "Excelのエラー"),
        ({"番号": "\u200b1024"}, "見えない文字"),
        ({"氏名": "佐倉\ufeff直人"}, "見えない文字"),
        ({"番号": "NULL"}, "空です"),
        ({"交付事由": "1 2"}, "使えない値です"),
        ({"交付事由": "75歳以上"}, "使えない値です"),
        ({"交付事由": "マイナ保険証がない"}, "使えない値です"),
        ({"資格喪失年月日": "なし"}, "喪失していない人は空にしてください"),
    ],
)
def test_what_cannot_be_put_right_is_an_error_with_a_way_out(read, change, says):
    _, found = read([PERSON | change, SECOND])
    assert found.errors == 1, found.messages
    (column,) = change
    assert found.messages[0].startswith(f"line 2, column {column}, value ")
    assert says in found.messages[0]


def test_a_name_with_an_apostrophe_and_one_that_begins_with_equals_stay_as_they_are(read):
    rows, found = read([PERSON | {"氏名": "'Abd Allah"}, SECOND | {"氏名": "=1+1"}])
    assert ([row["name"] for row in rows], found.repaired) == (["'Abd Allah", "=1+1"], 0)


@pytest.mark.parametrize("second", ['備考の"終わり"', ""])
@pytest.mark.parametrize("title", ["備考", "知らない列"])
def test_a_quotation_mark_that_swallows_people_refuses_the_file(read, title, second):
    header = [*(name for name in PERSON if name != "備考"), title]
    lines = text_of([PERSON | {title: ""}, SECOND | {title: "X"}], header).splitlines()
    assert lines[1].endswith(",")
    lines[1] += '"メモ'
    lines[2] = lines[2].removesuffix("X") + (f'"{second}"' if second else "")
    with pytest.raises(Unreadable, match=r"^2行目に、閉じていない引用符"):
        read("\n".join(lines))


def test_a_remark_over_lines_with_commas_in_it_is_read(read):
    rows, found = read([PERSON | {"備考": '一行目、"1,2,3"\n二行目,4'}, SECOND])
    assert (len(rows), found.errors) == (2, 0)
    assert rows[0]["remarks"] == '一行目、"1,2,3"\n二行目,4'


@pytest.mark.parametrize("end", ["\x1a", "\r\n\x1a", "\r\n\x1a\r\n"])
def test_the_mark_with_which_old_programs_end_a_file_is_no_row(read, end):
    rows, found = read(text_of([PERSON, SECOND]).rstrip("\r\n") + end)
    assert (rows, found.errors) == (read([PERSON, SECOND])[0], 0)
    _, found = read([PERSON | {"備考": "a\x1ab"}])
    assert found.errors == 1


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_known_without_its_mark(read, encoding):
    assert read(text_of([PERSON, SECOND]).encode(encoding))[0] == read([PERSON, SECOND])[0]


def test_a_nul_is_named_by_its_line(read):
    with pytest.raises(Unreadable, match=r"^3行目にNUL文字"):
        read(text_of([PERSON, SECOND | {"備考": "\0"}]))


TITLES = {
    "保険者番号": '="保険者番号"',
    "記号": "※記号",
    "番号": "番号（必須）",
    "枝番": "枝番(2桁)",
    "氏名": "氏名（漢字）",
    "氏名カナ": "氏名（カナ）",
    "生年月日": "生年月日\n(西暦)",
    "性別": "【性別】",
    "資格取得年月日": "資格取得\n年月日 ★",
    "交付年月日": "交付年月日（YYYY/MM/DD）",
}


def test_what_adorns_a_title_does_not_hide_it(read):
    row = {TITLES.get(name, name): text for name, text in PERSON.items()}
    rows, found = read([row])
    assert (rows, found.errors, found.warnings) == (read([PERSON])[0], 0, 0), found.messages


def test_a_title_that_may_mean_another_thing_is_not_read_and_told_with_a_way_out(read):
    for title, says in (
        ("資格喪失年月日（予定）", "「資格喪失年月日」の列であれば"),
        ("性別（0男1女）", "「性別」の列であれば"),
        ("被保険者証記号番号", "2つの列に分けてください"),
    ):
        known = "性別" if "性別" in title else "資格喪失年月日"
        row = {title if name == known else name: text for name, text in PERSON.items()}
        _, found = read([row])
        (told,) = [m for m in found.messages if "（警告）" in m]
        assert says in told


def test_rows_may_lack_the_cells_below_titles_that_are_empty(read):
    header, *lines = text_of([PERSON]).splitlines()
    rows, found = read("\n".join([header + ",,,", *lines]))
    assert (rows, found.errors) == (read([PERSON])[0], 0), found.messages


MINE = ("123456789018", "234567890121", "345678901234")


@pytest.mark.parametrize("title", ["", "メモ", "番号法の番号", "備考", "加入者ID"])
def test_my_numbers_refuse_the_file_under_any_title(read, tmp_path, title):
    rows = [PERSON | {title: MINE[0]}, SECOND | {title: f"{MINE[1][:4]} {MINE[1][4:]}"}]
    with pytest.raises(Unreadable, match="列の値がマイナンバー"):
        read(rows)
    with pytest.raises(Unreadable, match="列の値がマイナンバー"):
        read(text_of(rows).partition("\n")[2], map_of(("見出しの行", "なし")))


def test_twelve_digits_without_the_check_digit_or_all_the_same_are_none(read):
    wrong = [f"{number[:-1]}{(int(number[-1]) + 1) % 10}" for number in MINE]
    assert are_my_numbers(MINE)
    assert are_my_numbers([*MINE * 3, "不明"])
    assert not are_my_numbers([*MINE, *wrong])
    assert not are_my_numbers(wrong)
    assert not are_my_numbers([MINE[0]] * 5)
    assert not are_my_numbers(["", " "])

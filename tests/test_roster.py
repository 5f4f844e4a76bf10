"""Tests of reading a CSV file: the rule of every column, every form of date, and files that are not
rosters."""

import csv
import datetime as dt
import io
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dates import BadDate, in_words, parse_date
from roster import columns, findings
from roster.columns import TITLES
from roster.findings import plain_cell
from roster.reading import Unreadable
from tests.support.office import checked, text_of

TODAY = dt.date(2026, 11, 23)
INSURERS = {"06139463", "63139463"}
PERSON = {
    "加入者ID": "A1",
    "保険者番号": "06139463",
    "記号": "128",
    "番号": "1024",
    "枝番": "00",
    "氏名": "佐倉 直人",
    "氏名カナ": "サクラ ナオト",
    "生年月日": "1979-06-12",
    "性別": "1",
    "本人家族区分": "本人",
    "資格取得年月日": "2004-04-01",
    "資格喪失年月日": "",
    "事業所名称": "見本工業株式会社",
    "交付事由": "2",
    "交付方法": "WEB",
    "交付年月日": "2025-11-15",
    "有効期限": "2028-12-01",
    "一部負担金の割合": "",
    "発効期日": "",
    "備考": "",
    "不開示": "",
    "住所": "",
}


@pytest.fixture
def read(tmp_path):
    """read(rows or bytes) gives the checked rows as dicts, and the findings."""

    def read(content, **options):
        path = tmp_path / "roster.csv"
        if isinstance(content, list):
            content = text_of(content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return checked(path, INSURERS, TODAY, **options)

    return read


def test_a_row_reads_as_it_is_stored(read):
    rows, found = read([PERSON])
    assert rows == [
        {
            "line": 2,
            "person_id": "A1",
            "household": "06139463\t128\t1024",
            "insurer_number": "06139463",
            "symbol": "128",
            "number": "1024",
            "branch": "00",
            "name": "佐倉 直人",
            "kana": "サクラ ナオト",
            "birth_date": "1979-06-12",
            "sex": 1,
            "relation": 1,
            "qualified_on": "2004-04-01",
            "lost_on": None,
            "workplace": "見本工業株式会社",
            "delivery": "web",
            "issued_on": "2025-11-15",
            "expires_on": "2028-12-01",
            "copay": None,
            "effective_on": None,
            "remarks": "",
            "withheld": None,
            "address": "",
        }
    ]
    assert (found.errors, found.warnings, found.repaired, found.messages) == (0, 0, 0, [])


WRONG = [
    ("加入者ID", "1.2E+10", "指数表示"),
    ("加入者ID", "x" * 51, "50文字以内"),
    ("保険者番号", "", "必ず入力"),
    ("保険者番号", "06123456", "検証番号"),
    ("保険者番号", "06139497", "このシステムの保険者ではありません"),
    ("保険者番号", "061394630", "8桁の数字"),
    ("保険者番号", "06-39463", "8桁の数字"),
    ("記号", "あ" * 21, "20文字以内"),
    ("記号", "1.28E+05", "指数表示"),
    ("番号", "", "必ず入力"),
    ("番号", "1" * 21, "20文字以内"),
    ("番号", "10\t24", "制御文字"),
    ("枝番", "123", "2桁の数字"),
    ("枝番", "A", "2桁の数字"),
    ("氏名", "", "必ず入力"),
    ("氏名", "　 ", "必ず入力"),
    ("氏名", "山" * 101, "100文字以内"),
    ("氏名", "佐倉\n直人", "改行"),
    ("氏名カナ", "サ" * 101, "100文字以内"),
    ("氏名カナ", "サクラ\x07", "制御文字"),
    ("番号", "\ue000", "外字"),
    ("生年月日", "", "必ず入力"),
    ("生年月日", "2026-11-24", "今日（2026-11-23）より後"),
    ("生年月日", "昭和64年1月8日", "昭和64年1月8日はありません"),
    ("生年月日", "1979-02-29", "1979年2月29日という日はありません"),
    ("生年月日", "29018", "Excelの内部の数値"),
    ("生年月日", "790612", "桁数"),
    ("生年月日", "きのう", "読めません"),
    ("生年月日", "2010550", "元号コード 2"),
    ("性別", "", "必ず入力"),
    ("性別", "4", "使えない値"),
    ("本人家族区分", "", "必ず入力"),
    ("本人家族区分", "妻", "使えない値"),
    ("資格取得年月日", "", "必ず入力"),
    ("資格取得年月日", "1979-06-11", "生年月日（1979-06-12）より前"),
    ("資格喪失年月日", "2004-03-31", "資格取得年月日（2004-04-01）より前"),
    ("資格喪失年月日", "なし", "読めません"),
    ("資格喪失年月日", "9999", "桁数"),
    ("有効期限", "99999999", "範囲の外"),
    ("資格取得年月日", "0", "桁数"),
    ("事業所名称", "社" * 101, "100文字以内"),
    ("交付事由", "9", "使えない値"),
    ("交付事由", "⑨", "使えない値"),
    ("交付方法", "", "WEB か 紙"),
    ("交付方法", "メール", "使えない値"),
    ("交付年月日", "", "日付を入力"),
    ("有効期限", "", "日付を入力"),
    ("有効期限", "2025-11-15", "交付年月日（2025-11-15）以前"),
    ("有効期限", "2030-11-15", "5年以上後"),
    ("一部負担金の割合", "4割", "使えない値"),
    ("発効期日", "2025-13-01", "という日はありません"),
    ("備考", "裏" * 501, "500文字以内"),
    ("不開示", "2", "使えない値"),
    ("住所", "あ" * 101, "100文字以内"),
]


@pytest.mark.parametrize(("column", "value", "says"), WRONG)
def test_a_bad_cell_alone_is_named_with_line_column_value_and_what_is_expected(
    read, column, value, says
):
    rows, found = read([PERSON, PERSON | {"番号": "2048", "加入者ID": "A2"} | {column: value}])
    assert found.errors == 1
    start, _, text = found.messages[0].partition(": ")
    assert start.startswith(f"line 3, column {column}, value {findings.shown(value)}"), (
        found.messages
    )
    assert says in text
    assert len(rows) == 2


def test_every_column_has_a_bad_cell_in_the_table():
    assert (
        {column for column, _, _ in WRONG} == set(PERSON) == {t.japanese for t in TITLES.values()}
    )


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ({"保険者番号": "６１３９４６３"}, "insurer_number", "06139463"),
        ({"保険者番号": " 63139463 "}, "insurer_number", "63139463"),
        ({"枝番": "1"}, "branch", "01"),
        ({"枝番": ""}, "branch", ""),
        ({"氏名カナ": "ｻｸﾗ ﾅｵﾄ"}, "kana", "サクラ ナオト"),
        ({"氏名カナ": "ﾊﾟｰﾊﾞｰ"}, "kana", "パーバー"),
        ({"性別": "裏面参照"}, "sex", 3),
        ({"性別": "女"}, "sex", 2),
        ({"本人家族区分": "２"}, "relation", 2),
        ({"交付方法": "ｗｅｂ"}, "delivery", "web"),
        ({"交付方法": "紙"}, "delivery", "paper"),
        ({"交付事由": "", "交付方法": ""}, "delivery", "none"),
        ({"交付事由": "⑧"}, "delivery", "web"),
        ({"一部負担金の割合": "020", "発効期日": "R7.12.1"}, "copay", 20),
        ({"一部負担金の割合": "３割", "発効期日": "R7.12.1"}, "effective_on", "2025-12-01"),
        ({"備考": "一行目\r\n二行目"}, "remarks", "一行目\n二行目"),
        ({"不開示": "0"}, "withheld", 0),
        ({"不開示": "１"}, "withheld", 1),
        ({"記号": "　れい　"}, "symbol", "れい"),
        ({"有効期限": "2030-11-14"}, "expires_on", "2030-11-14"),
        ({"性別": "女性"}, "sex", 2),
        ({"性別": "男性"}, "sex", 1),
        ({"性別": "Ｍ"}, "sex", 1),
        ({"性別": "f"}, "sex", 2),
        ({"本人家族区分": "被保険者"}, "relation", 1),
        ({"本人家族区分": "被扶養者"}, "relation", 2),
        ({"交付方法": "電子"}, "delivery", "web"),
        ({"交付方法": "電磁"}, "delivery", "web"),
        ({"交付方法": "書面"}, "delivery", "paper"),
        ({"生年月日": "昭54.6.12"}, "birth_date", "1979-06-12"),
        ({"資格喪失年月日": "0"}, "lost_on", None),
        ({"資格喪失年月日": "00000000"}, "lost_on", None),
        ({"資格喪失年月日": "99999999"}, "lost_on", None),
        ({"資格喪失年月日": "9999/12/31"}, "lost_on", None),
        ({"資格喪失年月日": "９９９９年１２月３１日"}, "lost_on", None),
    ],
)
def test_a_good_cell_in_another_form_is_taken(read, change, field, value):
    rows, found = read([PERSON | change])
    assert found.errors == 0, found.messages
    assert rows[0][field] == value


def test_reason_seven_is_always_paper_and_withheld(read):
    rows, found = read([PERSON | {"交付事由": "7", "不開示": "0"}])
    assert (rows[0]["delivery"], rows[0]["withheld"]) == ("paper", 1)
    assert (found.errors, found.warnings) == (0, 2)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"氏名": "佐倉 ●人"}, "●"),
        ({"氏名": "\ue001田 直人"}, "外字"),
        ({"氏名": "𠮷田 直人"}, "外字"),
        (
            {
                "有効期限": "2028-12-01",
                "生年月日": "1953-12-02",
                "一部負担金の割合": "2割",
                "発効期日": "R7.12.1",
            },
            None,
        ),
        (
            {
                "有効期限": "2028-12-01",
                "生年月日": "1953-12-01",
                "一部負担金の割合": "2割",
                "発効期日": "R7.12.1",
            },
            "75歳",
        ),
        ({"一部負担金の割合": "2割", "発効期日": "R7.12.1"}, "70歳になっていない"),
        ({"生年月日": "1956-11-01"}, "70歳以上"),
        ({"生年月日": "1956-11-23"}, None),
        ({"交付事由": ""}, "交付事由が空"),
    ],
)
def test_what_is_odd_is_taken_with_one_warning(read, change, says):
    _, found = read([PERSON | change])
    assert found.errors == 0, found.messages
    assert found.warnings == (1 if says else 0), found.messages
    assert says is None or says in found.messages[0]


@pytest.mark.parametrize(
    ("column", "wrong"),
    [("氏名", ""), ("氏名", "直\u202e人"), ("氏名カナ", "あ" * 101), ("備考", "い" * 501)],
)
def test_a_wrong_cell_hides_no_warning_of_its_neighbours(read, column, wrong):
    people = [PERSON | {"加入者ID": f"A{i}", "番号": str(i)} for i in range(5)]
    people[0] |= {"氏名": "佐倉 ●", "氏名カナ": "サクラ 𠮷", "備考": "𠮷"}
    people[2] |= {column: wrong}
    _, found = read(people)
    assert (found.errors, found.warnings) == (1, 3), found.messages
    assert [message.partition(", value")[0] for message in found.messages] == [
        f"line 4, column {column}",
        *[f"line 2, column {name}" for name in ("氏名", "氏名カナ", "備考")],
    ]


@pytest.mark.parametrize(
    "character", ["\u202e", "\u202a", "\u2066", "\u2069", "\u200e", "\u200f", "\u061c"]
)
@pytest.mark.parametrize("column", ["加入者ID", "番号", "氏名", "氏名カナ", "事業所名称", "備考"])
def test_a_character_that_turns_the_others_round_is_an_error(read, column, character):
    _, found = read([PERSON | {column: f"佐{character}倉"}])
    assert (found.errors, found.warnings) == (1, 0)
    assert "向きを変える" in found.messages[0]
    assert character not in found.messages[0]


def test_repairs_are_counted_and_reported(read, tmp_path):
    report = tmp_path / "report.csv"
    _, found = read([PERSON | {"保険者番号": "6139463", "枝番": "0"}], report=report)
    assert (found.repaired, found.errors, found.warnings) == (2, 0, 0)
    lines = report.read_text("utf-8-sig").splitlines()
    assert lines[0] == "行,列,値,種別,内容"
    assert sorted(line.split(",")[:4] for line in lines[1:]) == [
        ["2", "保険者番号", "6139463", "補正"],
        ["2", "枝番", "0", "補正"],
    ]


DATES = [
    *(
        "19800101",
        "1980-01-01",
        "1980/1/1",
        "S55.1.1",
        "昭和55年1月1日",
        "5550101",
        "１９８０年１月１日",
        "s55/01/01",
    ),
    *(
        "昭和 55 年 1 月 1 日",
        "㍼55年1月1日",
        "1980/01/01 0:00:00",
        "1980-01-01T00:00:00",
        "1980.1.1",
        "昭55.01.01",
        "昭和550101",
        "S550101",
    ),
]


@pytest.mark.parametrize("text", DATES)
def test_each_form_of_a_date_names_the_same_day(text):
    assert parse_date(text) == dt.date(1980, 1, 1)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("令和元年5月1日", dt.date(2019, 5, 1)),
        ("平成31年4月30日", dt.date(2019, 4, 30)),
        ("昭和64年1月7日", dt.date(1989, 1, 7)),
        ("平成元年1月8日", dt.date(1989, 1, 8)),
        ("大正15年12月25日", dt.date(1926, 12, 25)),
        ("昭和元年12月25日", dt.date(1926, 12, 25)),
        ("明治45年7月30日", dt.date(1912, 7, 30)),
        ("大正元年7月30日", dt.date(1912, 7, 30)),
        ("9101201", dt.date(2028, 12, 1)),
    ],
)
def test_an_era_reaches_from_its_first_day_to_its_last(text, day):
    assert parse_date(text) == day


@pytest.mark.parametrize(
    "text",
    [
        "令和元年4月30日",
        "平成31年5月1日",
        "昭和64年1月8日",
        "平成元年1月7日",
        "明治45年7月31日",
        "昭和0年1月1日",
    ],
)
def test_a_day_outside_its_era_is_an_error(text):
    with pytest.raises(BadDate):
        parse_date(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1980-1/1",
        "1980年1月1",
        "１",
        "1980-01-01 12:30",
        "19801301",
        "18001231",
        "-1980-1-1",
        "9" * 50,
    ],
)
def test_what_names_no_day_is_an_error(text):
    with pytest.raises(BadDate):
        parse_date(text)


def test_the_claims_era_codes_are_read_only_when_asked_for(read):
    assert parse_date("3550101", "receipt") == dt.date(1980, 1, 1)
    with pytest.raises(BadDate):
        parse_date("3550101")


@given(st.dates(dt.date(1868, 1, 25), dt.date(2100, 12, 31)))
def test_a_day_written_by_its_era_reads_back(day):
    assert parse_date(in_words(day)) == day


def test_lines_count_as_in_excel_where_a_cell_holds_a_line_break(read):
    _, found = read([PERSON | {"備考": "一\n二\n三"}, PERSON | {"番号": "", "加入者ID": "B"}])
    assert found.messages[0].startswith("line 3, column 番号")


def test_empty_rows_are_passed_over_and_still_counted_as_lines(read):
    header, row = text_of([PERSON]).splitlines()
    _, found = read(
        f"{header}\r\n\r\n{',' * (len(PERSON) - 1)}\r\n{row}\r\n{row.replace('1979-06-12', 'x')}\r\n\r\n"
    )
    assert found.errors == 1
    assert found.messages[0].startswith("line 5, column 生年月日, value x")


def test_mixed_line_ends_are_read(read):
    header, row = text_of([PERSON]).splitlines()
    rows, found = read(f"{header}\r{row}\n{row}\r\n{row}".encode())
    assert [r["line"] for r in rows] == [2, 3, 4]
    assert found.errors == 0


def test_a_row_with_too_few_cells_is_an_error_and_one_with_empty_ones_too_many_is_not(read):
    header, row = text_of([PERSON]).splitlines()
    _, found = read(f"{header}\r\n{row.rsplit(',', 1)[0]}\r\n{row},,\r\n{row},x\r\n")
    assert [m.split(",")[0] for m in found.messages] == ["line 2", "line 4"]


def test_the_header_once_more_is_one_error(read):
    header, row = text_of([PERSON]).splitlines()
    _, found = read(f"{header}\r\n{row}\r\n{header}\r\n")
    assert found.errors == 1
    assert "見出しの行がもう一度" in found.messages[0]


def test_unknown_columns_are_ignored_with_a_warning_each_and_twins_refused(read):
    header, row = text_of([PERSON]).splitlines()
    _, found = read(f"{header},電話,\r\n{row},03,\r\n")
    assert (found.errors, found.warnings) == (0, 1)
    assert found.messages[0].startswith("line 1, column 電話")
    _, found = read(f"{header},氏名\r\n{row},別\r\n")
    assert found.errors == 1
    assert "同じ列が2つ" in found.messages[0]


REQUIRED = [title.japanese for title in TITLES.values() if title.required]


@pytest.mark.parametrize("title", REQUIRED)
def test_a_missing_required_column_is_named_and_the_others_are_checked_all_the_same(read, title):
    def without(row):
        return {name: cell for name, cell in row.items() if name != title}

    _, found = read([without(PERSON)])
    assert (found.errors, found.warnings) == (1, 0)
    assert found.messages[0].startswith(f"line 1, column {title}, value : この列がありません")
    bad = without(PERSON | dict.fromkeys(REQUIRED, "") | {"枝番": "x", "有効期限": "2025-01-01"})
    _, found = read([without(PERSON), bad])
    told = sorted(message.split(",")[1].removeprefix(" column ") for message in found.messages[1:])
    assert told == sorted({*REQUIRED, "枝番", "有効期限"} - {title})


def test_what_is_wrong_with_a_row_is_all_told_at_once(read):
    _, found = read(
        [
            PERSON
            | {
                "性別": "9",
                "資格喪失年月日": "2000-01-01",
                "有効期限": "2025-01-01",
                "備考": "\ue000",
            }
        ]
    )
    assert sorted(m.split(",")[1] for m in found.messages) == [
        " column 備考",
        " column 性別",
        " column 有効期限",
        " column 資格喪失年月日",
    ]
    _, found = read(
        [
            PERSON
            | {
                "交付方法": "FAX",
                "交付年月日": "",
                "生年月日": "2099-01-01",
                "資格取得年月日": "1900-01-01",
            }
        ]
    )
    assert sorted(m.split(",")[1] for m in found.messages) == [
        " column 交付方法",
        " column 生年月日",
    ]


def test_english_headers_in_any_order_and_capitals_are_known(read):
    english = {t.japanese: name for name, t in TITLES.items()}
    row = {english[k].upper(): v for k, v in reversed(PERSON.items())}
    rows, found = read([row])
    assert (found.errors, found.warnings) == (0, 0)
    assert rows[0]["household"] == "06139463\t128\t1024"


@pytest.mark.parametrize("mark", ["\t", ";", "|"])
def test_tabs_semicolons_and_bars_are_recognised(read, mark):
    rows, found = read(text_of([PERSON], delimiter=mark))
    assert (len(rows), found.errors, found.warnings) == (1, 0, 0)


KANA = PERSON | {"氏名カナ": "ｻｸﾗｲ ﾅｵﾄｼ", "氏名": "ｻｸﾗｲ ﾅｵﾄｼ", "事業所名称": ""}


@pytest.mark.parametrize(
    ("encoding", "rows", "name"),
    [
        ("euc_jp", [PERSON], "佐倉 直人"),
        ("euc_jp", [KANA], "ｻｸﾗｲ ﾅｵﾄｼ"),
        ("cp932", [PERSON], "佐倉 直人"),
        ("cp932", [KANA | {"加入者ID": str(n), "番号": str(n)} for n in range(500)], "ｻｸﾗｲ ﾅｵﾄｼ"),
    ],
)
def test_euc_and_cp932_are_told_apart(read, encoding, rows, name):
    """Pairs of half-width kana in CP932 are kanji in EUC-JP."""
    found_rows, found = read(text_of(rows).encode(encoding))
    assert (len(found_rows), found.errors, found_rows[0]["name"]) == (len(rows), 0, name)


def test_a_character_that_euc_lacks_is_named_by_line_and_column(read):
    rows = [PERSON | {"加入者ID": str(n), "番号": str(n)} for n in range(20)]
    good = text_of(rows).encode("euc_jp")
    _, found = read(good.replace("佐倉 直人".encode("euc_jp"), b"\xfc\xe2 1", 1))
    assert (found.errors, found.messages[0][:18]) == (1, "line 2, column 氏名,")


def test_a_byte_that_fits_no_encoding_is_named_by_line_and_column(read):
    good = text_of([PERSON, PERSON | {"番号": "2048", "加入者ID": "A2"}])
    utf8 = good.encode().replace("佐倉 直人".encode(), b"\xe4\xbd 1", 1)
    _, found = read(utf8)
    assert (found.errors, found.messages[0][:25]) == (1, "line 2, column 氏名, value ")
    cp932 = good.encode("cp932").replace("佐倉 直人".encode("cp932"), b"\x8d\xb2\xfd\xff 1", 1)
    _, found = read(cp932)
    assert (found.errors, found.messages[0][:18]) == (1, "line 2, column 氏名,")


def xlsx():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as book:
        book.writestr("xl/workbook.xml", "<workbook/>")
    return out.getvalue()


HEADER = ",".join(PERSON)
HOSTILE = {
    "empty": (b"", "空です"),
    "only a byte order mark": (b"\xef\xbb\xbf", "見出し"),
    "header only": (HEADER.encode(), "データの行がありません"),
    "header and empty rows": (f"{HEADER}\n\n,,,\n".encode(), "データの行がありません"),
    "a workbook": (xlsx(), "Excelブック"),
    "an old workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 100, "Excelブック"),
    "UTF-16 with half a character at its end": (HEADER.encode("utf-16") + b"\n", "欠けています"),
    "NUL bytes": (HEADER.encode() + b"\n\0\0\n", "NUL"),
    "one endless line": (b"A" * 3_000_000, "1行が長すぎます"),
    "one endless line after the header": (
        HEADER.encode() + b"\n" + b"," * 3_000_000,
        "1行が長すぎます",
    ),
    "an unclosed quote": (HEADER.encode() + b'\n"' + b"abc,\n" * 300_000, "引用符"),
    "a row of endless quoted lines": (
        HEADER.encode() + b"\n" + b'"\n",' * 9_000_000,
        "1行が長すぎます",
    ),
    "100,000 columns": (HEADER.encode() + b",x" * 100_000 + b"\n", "列が100022あります"),
    "no header": (b"1,2,3\n4,5,6\n", "見出し"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(range(1, 256)) * 9, "見出し"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_roster_gets_one_sentence(read, name):
    content, says = HOSTILE[name]
    with pytest.raises(Unreadable, match=says):
        read(content)


@pytest.mark.parametrize(
    ("cell", "plain"),
    [
        ("=1+1", "'=1+1"),
        ("+81", "'+81"),
        ("-1", "'-1"),
        ("@x", "'@x"),
        (" =1", "' =1"),
        ("＝1", "'＝1"),
        ("佐倉", "佐倉"),
        (None, ""),
        (5, "5"),
    ],
)
def test_a_cell_that_would_be_a_formula_is_written_as_text(cell, plain):
    assert plain_cell(cell) == plain


def test_a_value_in_a_message_is_one_line_without_anything_a_terminal_obeys(read):
    _, found = read([PERSON | {"性別": "\x1b[31m\n" + "x" * 100}])
    assert "\x1b" not in found.messages[0]
    assert "\n" not in found.messages[0]
    assert len(found.messages[0]) < 200


def test_only_a_thousand_messages_are_kept_errors_first_and_all_are_in_the_report(read, tmp_path):
    people = [PERSON | {"加入者ID": f"A{i}", "番号": str(i), "氏名": "●"} for i in range(1500)] + [
        PERSON | {"性別": "9"}
    ]
    _, found = read(people, report=tmp_path / "r.csv")
    assert (found.errors, found.warnings, len(found.messages)) == (1, 1500, 1000)
    assert found.messages[0].startswith("line 1502, column 性別")
    assert len((tmp_path / "r.csv").read_text("utf-8-sig").splitlines()) == 1502


# A roster written in any allowed form reads back to the same people.

BEGUN = dt.date(1868, 1, 25)


def forms(day):
    era = in_words(day)
    letter = dict(zip(("明治", "大正", "昭和", "平成", "令和"), "MTSHR", strict=True))[era[:2]]
    digit = dict(zip("MTSHR", "13579", strict=True))[letter]
    year, month, dom = era[2:-1].replace("元", "1").replace("年", ".").replace("月", ".").split(".")
    short = [f"{digit}{int(year):02d}{day:%m%d}"] if int(year) < 100 else []
    return [
        f"{day:%Y%m%d}",
        day.isoformat(),
        f"{day.year}/{day.month}/{day.day}",
        era,
        f"{letter}{year}.{month}.{dom}",
        *short,
    ]


names = st.text(st.sampled_from("佐倉直人髙﨑德栁瀨濵アーｱ ●Oé-"), min_size=1, max_size=20).filter(
    lambda s: s.strip()
)
wide = str.maketrans("0123456789", "０１２３４５６７８９")


@st.composite
def written(draw):
    """(people as they are, the file's bytes in some allowed form)."""
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "cp932", "euc_jp"]))
    header = draw(st.permutations(list(PERSON)))
    cells, people = [], []
    for i in range(draw(st.integers(1, 4))):
        born = draw(st.dates(dt.date(1890, 1, 1), dt.date(2020, 1, 1)))
        joined = draw(st.dates(max(born, dt.date(1930, 1, 1)), dt.date(2025, 1, 1)))
        name = draw(names)
        if encoding == "cp932":
            name = name.replace("é", "e")
        if encoding == "euc_jp":
            name = name.encode(encoding, "ignore").decode(encoding).strip() or "佐倉"
        sex = draw(st.sampled_from([1, 2, 3]))
        number = str(draw(st.integers(0, 10**6)))
        people.append(
            (
                name.strip(),
                born.isoformat(),
                joined.isoformat(),
                sex,
                f"06139463\t128\t{number}",
                f"{i:02d}",
            )
        )
        cells.append(
            PERSON
            | {
                "加入者ID": str(i),
                "保険者番号": draw(st.sampled_from(["06139463", "6139463", "０６１３９４６３"])),
                "番号": draw(st.sampled_from([number, number.translate(wide), f" {number} "])),
                "枝番": draw(st.sampled_from([f"{i:02d}", str(i), str(i).translate(wide)])),
                "氏名": name,
                "生年月日": draw(st.sampled_from(forms(born))).translate(
                    draw(st.sampled_from([wide, {}]))
                ),
                "資格取得年月日": draw(st.sampled_from(forms(joined))),
                "性別": draw(
                    st.sampled_from(
                        [str(sex), {1: "男", 2: "女", 3: "裏面参照"}[sex], str(sex).translate(wide)]
                    )
                ),
                "交付事由": "",
                "交付方法": "",
            }
        )
    mark = draw(st.sampled_from([",", "\t", ";"]))
    end = draw(st.sampled_from(["\r\n", "\n"]))
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    return people, text_of(
        cells, header, delimiter=mark, lineterminator=end, quoting=quoting
    ).encode(encoding)


@settings(deadline=None, max_examples=150)
@given(written())
def test_a_roster_in_any_allowed_form_reads_back_to_the_same_people(tmp_path_factory, example):
    people, content = example
    path = tmp_path_factory.getbasetemp() / "form.csv"
    path.write_bytes(content)
    rows, found = checked(path, INSURERS, TODAY)
    assert found.errors == 0, found.messages
    keys = ("name", "birth_date", "qualified_on", "sex", "household", "branch")
    assert [tuple(row[key] for key in keys) for row in rows] == people


@settings(deadline=None)
@given(
    st.lists(st.text(max_size=30), min_size=1, max_size=5),
    st.sampled_from(["name", "kana", "number", "person_id", "remarks", "symbol"]),
)
def test_a_batch_at_once_and_cell_by_cell_come_to_the_same(cells, name):
    rule = columns.rules(INSURERS, "pension")[name]
    at_once = rule.values(cells)
    if at_once is not None:
        assert at_once == [rule.parse(cell) for cell in cells]

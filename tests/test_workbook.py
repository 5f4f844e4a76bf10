"""Tests of rosters in Excel's own form: cells as Excel has them, the sheet that is read, and
workbooks that are damaged or meant to do harm."""

import datetime as dt
import io
import re
import resource
import time
import zipfile

import pytest
from openpyxl.xml.constants import SHARED_STRINGS, SHEET_MAIN_NS

from roster.reading import Unreadable
from roster.workbook import MOST_ROWS
from tests.support.exports import map_of, workbook
from tests.support.office import checked
from tests.test_roster import INSURERS, PERSON, TODAY

NAMES = list(PERSON)
ROW = list(PERSON.values())
SHEET, SHARED = "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"


def book(*people, **options):
    return workbook([NAMES, *([person[name] for name in NAMES] for person in people)], **options)


def altered(content, part, *changes):
    """Return the workbook with texts of one part replaced, each of which must be there."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            data = old.read(name)
            if name == part:
                for was, now in changes:
                    assert was.encode() in data, data.decode()
                    data = data.replace(was.encode(), now.encode())
            new.writestr(name, data)
    return out.getvalue()


def cell(name, line=2):
    """Return a cell's address by its title and line: G2."""
    return f"{chr(ord('A') + NAMES.index(name))}{line}"


@pytest.fixture
def read(tmp_path):
    """read(content) gives the checked rows as dicts, and the findings."""

    def read(content, columns=None, **options):
        path = tmp_path / "roster.xlsx"
        path.write_bytes(content)
        if columns is not None:
            options["columns"] = tmp_path / "map.csv"
            options["columns"].write_text(columns)
        return checked(path, INSURERS, TODAY, **options)

    return read


def test_a_workbook_reads_as_the_text_file_with_the_same_cells(read, tmp_path):
    rows, found = read(book(PERSON, PERSON | {"番号": "2048", "加入者ID": "A2", "備考": "一\n二"}))
    assert (found.errors, found.warnings, found.repaired) == (0, 0, 0), found.messages
    assert [row["line"] for row in rows] == [2, 3]
    assert rows[1]["remarks"] == "一\n二"
    path = tmp_path / "roster.csv"
    path.write_text(",".join(NAMES) + "\n" + ",".join(ROW) + "\n")
    assert checked(path, INSURERS, TODAY)[0] == rows[:1]


@pytest.mark.parametrize(
    ("title", "value", "shown_as", "field", "read_as"),
    [
        ("生年月日", dt.datetime(1979, 6, 12), "yyyy/m/d", "birth_date", "1979-06-12"),
        ("生年月日", dt.date(1979, 6, 12), '[$-411]ggge"年"m"月"d"日"', "birth_date", "1979-06-12"),
        ("生年月日", 29018, "[$-411]ge.m.d", "birth_date", "1979-06-12"),
        ("生年月日", "19790612", "@", "birth_date", "1979-06-12"),
        ("生年月日", 19790612, "General", "birth_date", "1979-06-12"),
        ("生年月日", 5540612.0, "0", "birth_date", "1979-06-12"),
        ("生年月日", "昭和54年6月12日", "@", "birth_date", "1979-06-12"),
        ("保険者番号", 6139463, "00000000", "insurer_number", "06139463"),
        ("番号", 1024, "000000", "number", "001024"),
        ("番号", 1024.0, "General", "number", "1024"),
        ("番号", "001024", "@", "number", "001024"),
        ("記号", 128.5, "General", "symbol", "128.5"),
        ("枝番", 1, "General", "branch", "01"),
        ("資格喪失年月日", 99999999, "General", "lost_on", None),
        ("資格喪失年月日", dt.datetime(9999, 12, 31), "yyyy/m/d", "lost_on", None),
        ("備考", "一行目_x000D_\n二行目", "General", "remarks", "一行目\n二行目"),
        ("交付事由", 2, "General", "delivery", "web"),
    ],
)
def test_a_cell_is_read_as_excel_shows_it(read, title, value, shown_as, field, read_as):
    def change(_, sheet):
        sheet[cell(title)] = value
        sheet[cell(title)].number_format = shown_as

    rows, found = read(book(PERSON, change=change))
    assert found.errors == 0, found.messages
    assert rows[0][field] == read_as


@pytest.mark.parametrize("number", [27, 30, 31, 36, 50, 57, 58])
def test_excels_own_japanese_date_formats_are_dates_though_the_file_does_not_describe_them(
    read, number
):
    def change(_, sheet):
        sheet[cell("生年月日")] = 29018
        sheet[cell("生年月日")].number_format = "yyyy/m/d;@"

    content = altered(
        book(PERSON, change=change),
        "xl/styles.xml",
        (
            '<numFmts count="1"><numFmt numFmtId="164" formatCode="yyyy/m/d;@"/></numFmts>'.replace(
                "/>", " />"
            ),
            "",
        ),
        ('numFmtId="164"', f'numFmtId="{number}"'),
    )
    rows, found = read(content)
    assert (found.errors, rows[0]["birth_date"]) == (0, "1979-06-12"), found.messages


def test_days_of_a_workbook_that_counts_from_1904_are_read(read):
    def change(book, sheet):
        book.epoch = dt.datetime(1904, 1, 1)
        sheet[cell("生年月日")] = dt.datetime(1979, 6, 12)

    rows, found = read(book(PERSON, change=change))
    assert (found.errors, rows[0]["birth_date"]) == (0, "1979-06-12"), found.messages


def test_a_number_that_excel_would_show_as_a_day_elsewhere_is_told_as_before(read):
    def change(_, sheet):
        sheet[cell("生年月日")] = 29018

    _, found = read(book(PERSON, change=change))
    assert found.messages[0].startswith("line 2, column 生年月日, value 29018: Excelの内部の数値")


def with_formula(inside):
    """Return a workbook whose 氏名カナ has a formula, and this inside its cell besides."""

    def change(_, sheet):
        sheet[cell("氏名カナ")] = "=1+1"

    address = cell("氏名カナ")
    return altered(
        book(PERSON, change=change),
        SHEET,
        (f'<c r="{address}"><f>1+1</f><v /></c>', f'<c r="{address}" {inside}'),
    )


def test_of_a_formula_its_value_is_read_be_it_empty(read):
    for inside, value in (
        ('t="str"><f>PHONETIC(F2)</f><v>サクラ ナオト</v></c>', "サクラ ナオト"),
        ('t="str"><f>IF(F2="","",G2)</f><v></v></c>', ""),
        ("><f>1+1</f><v>2</v></c>", "2"),
    ):
        rows, found = read(with_formula(inside))
        assert (found.errors, rows[0]["kana"]) == (0, value), found.messages


def test_a_formula_without_a_value_and_an_error_of_excels_are_told(read):
    _, found = read(with_formula("><f>PHONETIC(F2)</f></c>"))
    assert found.messages == [
        "line 2, column 氏名カナ, value : Excelの数式が値になっていません。Excelで開いて正しい値にし、保存し直してください"
    ]
    _, found = read(with_formula('t="e"><f>1/0</f><v>#DIV/0!</v></c>'))
    assert found.messages[0].startswith("line 2, column 氏名カナ, value #DIV/0!: Excelの数式")
    _, found = read(
        with_formula("><f>PHONETIC(F2)</f></c>"), map_of(("氏名カナ", "氏名カナ", "*", "ア"))
    )
    assert found.errors == 1


def test_lines_are_those_that_excel_shows(read):
    content = altered(
        book(PERSON, PERSON | {"番号": "", "加入者ID": "A2"}),
        SHEET,
        ('<row r="3">', '<row r="70">'),
        *((f'r="{cell(name, 3)}"', f'r="{cell(name, 70)}"') for name in NAMES),
    )
    _, found = read(content)
    assert [message.partition(",")[0] for message in found.messages] == ["line 70"]


@pytest.mark.parametrize("size", ["A1:A1", "A1:XFD1048576", None])
def test_the_size_that_a_file_claims_to_have_is_not_believed(read, size):
    content = book(PERSON, PERSON | {"番号": "2048", "加入者ID": "A2"})
    claim = f'<dimension ref="{size}" />' if size else ""
    started = time.monotonic()
    rows, found = read(
        altered(content, SHEET, (f'<dimension ref="A1:{cell(NAMES[-1], 3)}" />', claim))
    )
    assert (len(rows), found.errors) == (2, 0)
    assert time.monotonic() - started < 20


def test_the_first_sheet_that_is_shown_is_read_or_the_one_that_is_named(read, clerk, tmp_path):
    def change(book, _):
        book.active.sheet_state = "hidden"
        sheet = book.create_sheet("名簿 11月")
        sheet.append(NAMES)
        sheet.append(list((PERSON | {"番号": "2048"}).values()))
        book.create_sheet("メモ").append(["電話"])
        book.active = 1

    content = book(PERSON, change=change, title="前")
    assert read(content)[0][0]["number"] == "2048"
    assert read(content, sheet="前")[0][0]["number"] == "1024"
    with pytest.raises(
        Unreadable, match="「後」というシートはありません。あるのは 前、名簿 11月、メモ です"
    ):
        read(content, sheet="後")
    path = tmp_path / "roster.xlsx"
    path.write_bytes(content)
    done = clerk.roster(path, "--sheet", "前")
    assert (done["added"], done["errors"]) == (1, 0), done["out"]
    assert "シート「前」、1行を読みました" in done["out"]
    done = clerk.roster(path, "--sheet", "メモ")
    assert (done["exit"], done["added"], done["errors"]) == (1, 0, 1)


def test_a_sheet_of_a_text_file_cannot_be_named(clerk):
    done = clerk.roster([PERSON], "--sheet", "前")
    assert (done["exit"], done["errors"]) == (1, 1)
    assert "シートはありません" in done["out"]


def shared(content, beside=""):
    """Return the workbook as Excel writes it: texts in a part of their own, and `beside` each of
    them."""
    texts = []

    def moved(found):
        texts.append(f"<si>{found[2].decode()}{beside}</si>")
        return found[1] + f't="s"><v>{len(texts) - 1}</v></c>'.encode()

    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == SHEET:
                data = re.sub(
                    rb'(<c [^>]*)t="inlineStr"><is>(.*?)</is></c>', moved, data, flags=re.DOTALL
                )
            if name == "[Content_Types].xml":
                kind = f'<Override PartName="/{SHARED}" ContentType="{SHARED_STRINGS}"/></Types>'
                data = data.replace(b"</Types>", kind.encode())
            new.writestr(name, data)
        new.writestr(SHARED, f'<sst xmlns="{SHEET_MAIN_NS}">{"".join(texts)}</sst>')
    assert len(texts) >= len(NAMES)
    return out.getvalue()


def test_how_a_name_is_spoken_is_no_part_of_it(read):
    spoken = '<rPh sb="0" eb="2"><t>サクラ</t></rPh><phoneticPr fontId="1"/>'
    rows, found = read(shared(book(PERSON), spoken))
    assert (rows, found.errors) == (read(book(PERSON))[0], 0)
    within = altered(book(PERSON), SHEET, ("<is><t>佐倉 直人</t>", f"<is><t>佐倉 直人</t>{spoken}"))
    assert read(within)[0][0]["name"] == "佐倉 直人"


def test_titles_further_down_and_notes_beside_the_table_do_no_harm(read):
    content = workbook([["名簿"], [], NAMES, [*ROW, None, "メモ"], ROW[:11]])
    rows, found = read(content, map_of(("見出しの行", "3")))
    assert (found.errors, found.warnings, rows[0]["line"]) == (0, 0, 4), found.messages
    assert [row["delivery"] for row in rows] == ["web", "none"]


def test_a_last_column_may_begin_far_down_and_an_era_leave_a_number_without_its_zero(read):
    people = [["06139463", str(i), "見本", "昭和", 70703, 1, 1, 20150401] for i in range(200)]
    columns = [
        "保険者番号",
        "番号",
        "氏名",
        "生年月日の元号",
        "生年月日",
        "性別",
        "本人家族区分",
        "資格取得年月日",
        "備考",
    ]
    mapped = map_of(("見出しの行", "なし"), *((name, i + 1) for i, name in enumerate(columns)))
    rows, found = read(workbook([*people[:150], [*people[150], "裏"], *people[151:]]), mapped)
    assert (found.errors, found.repaired) == (0, 200), found.messages
    assert {row["birth_date"] for row in rows} == {"1932-07-03"}
    assert [row["line"] for row in rows if row["remarks"]] == [151]


def test_a_column_of_my_number_in_a_workbook_refuses_it(read):
    with pytest.raises(Unreadable, match="マイナンバー"):
        read(workbook([[*NAMES, "個人番号"], [*ROW, 123456789018]]))


LAUGHS = "<!DOCTYPE x [<!ENTITY a0 'ha'>" + "".join(
    f"<!ENTITY a{i} '{f'&a{i - 1};' * 10}'>" for i in range(1, 12)
)


def bomb(part):
    """Return a workbook of which one part unpacks to 256 MiB; none of it is ever in memory."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(book(PERSON))) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in {*old.namelist()} - {part}:
            new.writestr(name, old.read(name))
        with new.open(part, "w") as file:
            file.write(b"<x><!--")
            for _ in range(256):
                file.write(b" " * (1 << 20))
    return out.getvalue()


def zipped(**parts):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name.replace("_", "/").replace("--", "."), data)
    return out.getvalue()


HOSTILE = {
    "a ZIP bomb": lambda: bomb("xl/workbook.xml"),
    "a sheet that unpacks to much": lambda: bomb(SHEET),
    "a part beside the sheets that unpacks to much": lambda: bomb(SHARED),
    "entities in the sheet": lambda: altered(
        book(PERSON), SHEET, ("<worksheet", LAUGHS + "]><worksheet"), ("佐倉", "&a11;")
    ),
    "entities in the workbook": lambda: altered(
        book(PERSON), "xl/workbook.xml", ("<workbook", LAUGHS + "]><workbook"), ("加入者", "&a11;")
    ),
    "one small entity": lambda: altered(
        book(PERSON),
        SHEET,
        ("<worksheet", "<!DOCTYPE x [<!ENTITY a '佐'>]><worksheet"),
        ("佐倉", "&a;倉"),
    ),
    "entities in the texts": lambda: altered(
        shared(book(PERSON)), SHARED, ("<sst", LAUGHS + "]><sst"), ("佐倉", "&a11;")
    ),
    "a file named by an entity": lambda: altered(
        book(PERSON),
        SHEET,
        ("<worksheet", '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><worksheet'),
        ("佐倉", "&a;"),
    ),
    "a document": lambda: zipped(**{"word_document--xml": b"<w/>"}),
    "another archive": lambda: zipped(readme=b"text"),
    "half an archive": lambda: book(PERSON)[:2000],
    "a damaged part": lambda: book(PERSON).replace(b"PK\x01\x02", b"PK\x01\x03"),
    "no content types": lambda: zipped(**{"xl_workbook--xml": b"<workbook/>"}),
    "a row beyond the last": lambda: altered(
        book(PERSON), SHEET, ('<row r="2">', f'<row r="{MOST_ROWS + 1}">')
    ),
    "a row without end": lambda: altered(
        book(PERSON), SHEET, ('<row r="2">', f'<row r="{10**30}">')
    ),
    "a row twice": lambda: altered(book(PERSON), SHEET, ('<row r="2">', '<row r="1">')),
    "a column beyond the last": lambda: altered(book(PERSON), SHEET, ('r="B2"', 'r="ZZZZZZ2"')),
    "a cell twice": lambda: altered(book(PERSON), SHEET, ('r="B2"', 'r="A2"')),
    "a text that is nowhere": lambda: altered(
        book(PERSON),
        SHEET,
        ('<c r="B2" t="inlineStr"><is><t>06139463</t></is></c>', '<c r="B2" t="s"><v>99</v></c>'),
    ),
    "a number that is none": lambda: altered(
        book(PERSON),
        SHEET,
        ('<c r="B2" t="inlineStr"><is><t>06139463</t></is></c>', '<c r="B2"><v>x</v></c>'),
    ),
    "XML that breaks off": lambda: altered(book(PERSON), SHEET, ("</sheetData>", "")),
    "only titles": lambda: workbook([NAMES]),
    "nothing": lambda: workbook([]),
    "too many columns": lambda: workbook([[*NAMES, *map(str, range(1000))], ROW]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_workbook_that_cannot_be_read_gets_one_sentence_soon_and_in_little_memory(read, name):
    content = HOSTILE[name]()
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Unreadable) as told:
        read(content)
    assert len(str(told.value).splitlines()) == 1
    assert time.process_time() - started < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KB


def test_cells_that_are_merged_over_people_refuse_the_workbook_and_merged_titles_do_not(read):
    rows = [list(PERSON), list(PERSON.values()), list((PERSON | {"番号": "2"}).values())]
    read(workbook(rows, change=lambda _, sheet: sheet.merge_cells("V1:W1")))
    with pytest.raises(Unreadable, match="セル C2:C3 が結合されていて、3行目からは空です"):
        read(workbook(rows, change=lambda _, sheet: sheet.merge_cells("C2:C3")))


def test_rows_that_are_hidden_are_read_and_told(clerk, tmp_path):
    path = tmp_path / "roster.xlsx"

    def hide(_, sheet):
        sheet.row_dimensions[2].hidden = True

    path.write_bytes(workbook([list(PERSON), list(PERSON.values())], change=hide))
    done = clerk.roster(path, command="check")
    assert "シート「加入者」（隠れている1行も読みました）、1行を読みました。" in done["out"]


@pytest.mark.parametrize("shown_as", ["00000000_ ", "00000000;[Red]-00000000", "00000000\\ "])
def test_zeros_that_a_format_shows_are_read_whatever_else_it_shows(read, shown_as):
    def show(_, sheet):
        sheet["D2"] = 1024
        sheet["D2"].number_format = shown_as

    rows, _ = read(workbook([list(PERSON), list(PERSON.values())], change=show))
    assert rows[0]["number"] == "00001024"

"""Files as insurers' systems export them: the families that are known, and rosters written under
any titles, through any map, as text or as a workbook."""

from __future__ import annotations

import csv
import datetime as dt
import io

import openpyxl
from hypothesis import strategies as st

from dates import in_words
from roster.columns import TITLES
from roster.header import ALIASES, letter
from roster.mapping import MAP_TITLES

CORE = """\
加入者一覧表,,,,,,,,,,,,,
作成日,2026/11/20,,,,,,,,,,,,
保険者番号,証記号,証番号,枝番号,続柄,漢字氏名,カナ氏名,性別,生年月日元号,生年月日,取得日,喪失日,事業所名,有効期限
06139463,1001,123,0,本人,見本　太郎,ﾐﾎﾝ ﾀﾛｳ,男性,昭和,550512,20150401,0,見本商事,20281201
06139463,1001,123,1,妻,見本　花子,ﾐﾎﾝ ﾊﾅｺ,女性,昭和,570703,20150401,00000000,見本商事,20281201
合計,2件,,,,,,,,,,,,
"""
NO_TITLES = """\
D,06139463,1001,000123,00,見本　太郎,ﾐﾎﾝ ﾀﾛｳ,5,550512,1,1,20150401,
D,06139463,1001,000123,01,見本　花子,ﾐﾎﾝ ﾊﾅｺ,5,570703,2,2,20150401,20281231
T,2
"""
ISSUED = """\
保険者番号,記号,番号,枝番,氏名,生年月日,性別,本人家族区分,資格取得年月日,交付事由,交付方法,交付年月日,有効期限
06139463,1001,123,00,見本　太郎,19800512,1,1,20150401,2,WEB,20251115,20281201
"""
FAMILIES = {
    "a_oqs": """\
保険者番号,被保険者証記号,被保険者証番号,枝番,本人・家族の別,氏名,氏名カナ,性別1,生年月日,資格取得年月日,資格喪失年月日,交付年月日,有効終了年月日,一部負担金割合
06139463,1001,000123,00,1,見本　太郎,ﾐﾎﾝ ﾀﾛｳ,1,19800512,20150401,,20251115,20281201,
06139463,1001,000123,01,2,見本　花子,ﾐﾎﾝ ﾊﾅｺ,2,19820703,20150401,99999999,20251115,20281201,030
""".encode("cp932"),
    "b_core": CORE.encode("cp932"),
    "c_values": """\
保険者番号,記号,番号,枝番,氏名,氏名カナ,生年月日,性別,本人家族区分,資格取得年月日,資格喪失年月日,交付事由,交付方法,交付年月日,有効期限
06139463,1001,123,00,見本　太郎,ﾐﾎﾝ ﾀﾛｳ,1980/05/12 0:00:00,男性,被保険者,2015/04/01,9999/12/31,②,電子,2025/11/15,2028/12/01
06139463,1001,123,01,見本　花子,ﾐﾎﾝ ﾊﾅｺ,3 57.07.03,女性,被扶養者,H27.04.01,99999999,２,Web,R7.11.15,R10.12.01
06139463,1001,123,02,見本　一郎,ﾐﾎﾝ ｲﾁﾛｳ,4270712,1,2,5270712,0,2,web,R7.11.15,R10.12.1
06139463,1001,123,03,見本　二郎,ﾐﾎﾝ ｼﾞﾛｳ,平27.07.12,1,2,平成27年 7月12日,00000000,2,WEB,令7.11.15,令和10年12月 1日
""".encode("cp932"),
    "d_nohead": NO_TITLES.encode("cp932"),
    "e_tab": ISSUED.replace(",", "\t").encode("cp932"),
    "f_utf16": ISSUED.replace(",", "\t").encode("utf-16"),
    "g_noreason": ISSUED.replace("交付事由,", "").replace(",2,WEB", ",WEB").encode(),
    "i_nodelivery": ISSUED.replace("交付事由,交付方法,", "").replace(",2,WEB", "").encode(),
}


def map_of(*rows):
    """Return a map's text; a row has 項目, ファイルの列, ファイルの値, 読み替え."""
    out = io.StringIO()
    csv.writer(out).writerows([MAP_TITLES, *rows])
    return out.getvalue()


def workbook(rows, title="加入者", change=lambda book, sheet: None):
    """Return a workbook of one sheet with these rows. `change(book, sheet)` may alter it."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = title
    for row in rows:
        sheet.append(row)
    change(book, sheet)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


FIELDS = {
    "insurer_number": st.just("06139463"),
    "symbol": st.sampled_from(["1001", "れい12", ""]),
    "name": st.sampled_from(["佐倉　直人", "濵﨑　蓮", "戸田　さくら"]),
    "kana": st.sampled_from(["サクラ　ナオト", "ハマサキ　レン", "トダ　サクラ"]),
    "sex": st.sampled_from([1, 2, 3]),
    "relation": st.sampled_from([1, 2]),
    "birth_date": st.dates(dt.date(1912, 8, 1), dt.date(2019, 12, 31)),
    "qualified_on": st.dates(dt.date(2020, 1, 1), dt.date(2025, 12, 31)),
    "lost_on": st.none() | st.dates(dt.date(2026, 1, 1), dt.date(2027, 12, 31)),
    "workplace": st.sampled_from(["", "見本商事"]),
}
"""Columns of the roster, and what the people in it may have there."""


@st.composite
def people(draw):
    """Draw one to four people, as dicts of the roster's columns."""
    return [
        {name: draw(values) for name, values in FIELDS.items()}
        | {"number": str(draw(st.integers(1, 10**6))), "branch": f"{i:02}"}
        for i in range(draw(st.integers(1, 4)))
    ]


def cell(draw, name, value, in_workbook):
    """Draw one of the forms in which a value may stand in a cell."""
    if isinstance(value, dt.date):
        texts = [
            f"{value:%Y%m%d}",
            f"{value:%Y/%m/%d}",
            in_words(value),
            in_words(value)[0] + short(value),
        ]
        days = [dt.datetime(value.year, value.month, value.day), int(f"{value:%Y%m%d}")]
        return draw(st.sampled_from(texts + days * in_workbook))
    if name == "lost_on":
        return draw(st.sampled_from(["", "0", "00000000", "99999999", "9999/12/31"]))
    if name == "sex":
        return draw(st.sampled_from([str(value), {1: "男性", 2: "女性", 3: "裏面参照"}[value]]))
    if name == "relation":
        return draw(st.sampled_from([str(value), {1: "被保険者", 2: "被扶養者"}[value]]))
    if name in ("number", "branch", "insurer_number") and in_workbook:
        return draw(st.sampled_from([value, int(value)]))
    return value


def short(day):
    """Return the day in its era's calendar, with points and without the era's name: 55.1.1."""
    return in_words(day)[2:-1].replace("元", "1").replace("年", ".").replace("月", ".")


def content(draw, rows, in_workbook):
    """Return the rows as a file's bytes, in some form."""
    if in_workbook:
        return workbook(rows)
    mark = draw(st.sampled_from(",\t;"))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "cp932", "utf-16"]))
    out = io.StringIO()
    csv.writer(out, delimiter=mark).writerows(rows)
    return out.getvalue().encode(encoding)


@st.composite
def under_other_titles(draw):
    """Draw people, and a file of them under any titles that are known."""
    drawn, in_workbook = draw(people()), draw(st.booleans())
    order = draw(st.permutations(list(drawn[0])))
    titles = [
        draw(st.sampled_from([n, TITLES[n].japanese, *ALIASES.get(n, "").split()])) for n in order
    ]
    rows = [titles, *([cell(draw, n, one[n], in_workbook) for n in order] for one in drawn)]
    return drawn, content(draw, rows, in_workbook)


@st.composite
def through_a_map(draw):
    """Draw people, a file of them that needs a map, and the map."""
    drawn, in_workbook = draw(people()), draw(st.booleans())
    above = draw(st.sampled_from([None, 0, 1, 3]))  # rows above the titles; None: no titles
    order = draw(st.permutations([*drawn[0], "era", "other"]))
    if draw(st.booleans()):  # 姓 and 名 apart
        order = [part for n in order for part in (("姓", "名") if n == "name" else (n,))]
    constant = draw(st.booleans())
    if constant:
        order = [n for n in order if n != "insurer_number"]
    by_title = above is not None and draw(st.booleans())
    titles = [f"列目その{i}" for i in range(len(order))]
    sexes = dict(zip((1, 2, 3), draw(st.permutations(["01", "02", "99"])), strict=True))
    first, last = ["一覧表"], ["合計", f"{len(drawn)}件"]

    def value(one, name):
        return {
            "era": in_words(one["birth_date"])[: draw(st.sampled_from([1, 2]))],
            "birth_date": short(one["birth_date"]),
            "other": "住所",
            "姓": one["name"].split("　")[0],
            "名": one["name"].split("　")[1],
            "sex": sexes[one["sex"]],
            "relation": {1: "世帯主", 2: draw(st.sampled_from(["妻", "子"]))}[one["relation"]],
        }.get(name) or cell(draw, name, one[name], in_workbook)

    rows = [[value(one, name) for name in order] for one in drawn]
    if above is not None:
        rows = [*[first + [""] * (len(order) - 1)] * above, titles, *rows]
    rows.append(last + [""] * (len(order) - 2))
    named = {"era": "生年月日の元号", "姓": "氏名", "名": "氏名"}
    columns = [titles[i] if by_title else f"{letter(i)}列" for i in range(len(order))]
    mapped = [
        ("見出しの行", "なし" if above is None else above + 1),
        ("読まない行", "", "合計"),
        *(
            (named.get(n) or (TITLES[n].japanese if n in TITLES else ""), columns[i])
            for i, n in enumerate(order)
        ),
        *(("性別", "", sexes[sex].lstrip("0"), sex) for sex in sexes),  # as Excel leaves them
        ("本人家族区分", "", "世帯主", "本人"),
        ("本人家族区分", "", "*", "家族"),
        *([("保険者番号", "", "", "6139463")] if constant else []),
    ]
    coded = draw(st.sampled_from(["utf-8", "utf-8-sig", "cp932", ""]))
    written = map_of(*mapped).encode(coded) if coded else workbook([MAP_TITLES, *mapped])
    return drawn, content(draw, rows, in_workbook), written

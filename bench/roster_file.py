"""Write a fictional roster of any size: households of an employee, a spouse and children, in the
form that insurers export."""

from __future__ import annotations

import csv
import random
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

from dates import in_words
from roster.columns import TITLES

SURNAMES = [
    "佐倉",
    "戸田",
    "森川",
    "野々村",
    "濵﨑",
    "青柳",
    "石渡",
    "梅原",
    "江口",
    "大沼",
    "風間",
    "北見",
    "熊谷",
    "小松",
    "桜庭",
    "白石",
    "瀬川",
    "高瀬",
    "千葉",
    "津田",
    "手塚",
    "富樫",
    "中里",
    "西尾",
]
SURNAME_KANA = [
    "サクラ",
    "トダ",
    "モリカワ",
    "ノノムラ",
    "ハマサキ",
    "アオヤギ",
    "イシワタ",
    "ウメハラ",
    "エグチ",
    "オオヌマ",
    "カザマ",
    "キタミ",
    "クマガイ",
    "コマツ",
    "サクラバ",
    "シライシ",
    "セガワ",
    "タカセ",
    "チバ",
    "ツダ",
    "テヅカ",
    "トガシ",
    "ナカザト",
    "ニシオ",
]
FIRST = [
    "直",
    "美",
    "陽",
    "蓮",
    "結",
    "海",
    "明",
    "剛",
    "葵",
    "誠",
    "翔",
    "悠",
    "咲",
    "凛",
    "大",
    "健",
    "里",
    "千",
    "真",
    "優",
]
SECOND = [
    "人",
    "子",
    "太",
    "香",
    "菜",
    "斗",
    "希",
    "介",
    "樹",
    "奈",
    "乃",
    "郎",
    "恵",
    "実",
    "平",
    "也",
]
KANA = "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモ"


def rows(count: int, seed: int = 1, person_ids: bool = True) -> Iterator[list[str]]:
    """Return the rows of `count` people, household by household.

    One name in 25 has a ● in place of a character that the exporting system lacks, as in real
    rosters.
    """
    chance = random.Random(seed)
    made = 0
    while made < count:
        household = made
        family = min(chance.choice((1, 1, 2, 3, 4)), count - made)
        surname = chance.randrange(len(SURNAMES))
        working = date(1957, 1, 1) + timedelta(chance.randrange(18000))
        joined = date(2007, 4, 1) + timedelta(chance.randrange(6500))
        reason = chance.choice(("", "", "", "1", "2", "3"))
        for branch in range(family):
            child = branch > 1
            born = (
                joined + timedelta(chance.randrange(400))
                if child
                else working + timedelta(branch * chance.randrange(900))
            )
            given = "●" if chance.random() < 0.04 else chance.choice(FIRST) + chance.choice(SECOND)
            kana = "".join(chance.choices(KANA, k=3))
            yield [
                *([f"P{household:07d}{branch}"] if person_ids else []),
                "06139463",
                str(100 + household % 400),
                str(1000 + household),
                f"{branch:02d}",
                f"{SURNAMES[surname]} {given}",
                f"{SURNAME_KANA[surname]} {kana}",
                f"{born:%Y%m%d}" if made % 2 else in_words(born),
                chance.choice("12"),
                "1" if branch == 0 else "2",
                max(joined, born).isoformat(),
                "",
                "見本工業株式会社 本社" if household % 3 else "見本商事株式会社",
                reason,
                "WEB" if reason else "",
                "2025-11-15" if reason else "",
                "2028-12-01" if reason else "",
                "",
                "",
                "",
                "",
            ]
            made += 1


def write(path: Path, count: int, *, encoding: str = "utf-8-sig", person_ids: bool = True) -> None:
    """Write a roster of `count` people, without addresses."""
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            [
                title.japanese
                for name, title in TITLES.items()
                if name != "address" and (person_ids or name != "person_id")
            ]
        )
        writer.writerows(rows(count, person_ids=person_ids))


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))

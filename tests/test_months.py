"""A small society month after month, with whole rosters, beside a model of a few lines that knows
nothing of plans: after each import both hold the same people."""

import datetime as dt
import random
import re

import pytest

import dates
from models import Member
from tests.test_roster import PERSON

EVENTS = (
    *("join", "leave", "marry", "move", "paper", "web", "none", "correct", "birth"),
    *("withhold", "lift", "lift"),
)
WEB = {k: PERSON[k] for k in ("交付事由", "交付方法", "交付年月日", "有効期限")}
NONE = dict.fromkeys(WEB, "")


class Society:
    def __init__(self, seed):
        self.random, self.people, self.known, self.numbers = random.Random(seed), {}, {}, 100
        for _ in range(6):
            self.join("2020-04-01")

    def person(self, number, branch, since):
        day = f"-{self.random.randint(1, 12):02}-{self.random.randint(1, 28):02}"
        return PERSON | {
            "加入者ID": "",
            "番号": f"{number:05}",
            "枝番": f"{branch:02}",
            "氏名": f"姓{self.random.randrange(10**6)} 名",
            "生年月日": f"{self.random.randint(1960, 2015)}{day}",
            "本人家族区分": "家族" if branch else "本人",
            "資格取得年月日": since,
        }

    def join(self, today):
        self.numbers += 1
        for branch in range(self.random.randint(1, 3)):
            self.people[self.numbers, branch] = self.person(self.numbers, branch, today)

    def happen(self, event, today):
        hidden = [k for k in self.people if self.known.get(k, {}).get("不開示") == "1"]
        key = self.random.choice((event == "lift" and hidden) or list(self.people))
        person, family = self.people[key], [k for k in self.people if k[0] == key[0]]
        if event == "join":
            self.join(today)
        elif event == "leave" and len(family) < len(self.people):
            for one in family:
                del self.people[one]
        elif event == "move":
            self.numbers += 1
            for one in family:
                new = {"番号": f"{self.numbers:05}", "資格取得年月日": today}
                self.people[self.numbers, one[1]] = self.people.pop(one) | new
        elif event == "birth":
            branch = 1 + max(b for n, b in {*self.people, *self.known} if n == key[0])
            self.people[key[0], branch] = self.person(key[0], branch, today) | {"生年月日": today}
        else:
            person |= {
                "marry": {"氏名": f"新{self.random.randrange(10**6)} 名"},
                "correct": {"生年月日": f"{person['生年月日'][:8]}{self.random.randint(1, 28):02}"},
                "paper": WEB | {"交付方法": "紙"},
                "web": WEB,
                "none": NONE,
                "withhold": {"不開示": "1"},
                "lift": {"不開示": "0"},
            }.get(event, {})

    def remember(self, today):
        """Take over what the roster says, with the losses of those whom it lacks."""
        for key, one in self.known.items():
            if key not in self.people and not one["資格喪失年月日"]:
                one["資格喪失年月日"] = today
        hidden = {(p["氏名"], p["生年月日"]) for p in self.known.values() if p["不開示"] == "1"}
        for key, person in self.people.items():
            before = self.known.get(key, {}).get("不開示", "")
            if key not in self.known and (person["氏名"], person["生年月日"]) in hidden:
                before = "1"
            self.known[key] = person | {"不開示": person["不開示"] or before}
        for person in self.people.values():
            person["不開示"] = ""  # the next roster says nothing of it

    def expected(self):
        kinds = {"WEB": "web", "紙": "paper", "": "none"}
        fields = ("番号", "枝番", "氏名", "生年月日", "資格取得年月日", "資格喪失年月日")
        return sorted(
            (*(p[name] for name in fields), kinds[p["交付方法"]], p["不開示"] == "1")
            for p in self.known.values()
        )


@pytest.mark.parametrize("seed", range(6))
def test_after_each_month_the_same_people_are_stored_as_a_small_model_has(clerk, monkeypatch, seed):
    society = Society(seed)
    for month in range(7, 13):
        now = dt.datetime(2026, month, 5, 9, tzinfo=dates.JST)
        monkeypatch.setattr("commands.rosters.moment", now.timestamp)
        for _ in range(society.random.randint(1, 6)):
            society.happen(society.random.choice(EVENTS), str(now.date()))
        rows = society.random.sample(list(society.people.values()), len(society.people))
        done = clerk.roster(rows, "--full")
        if done["exit"]:  # what many changes ask for, and nothing else
            asked = re.findall(r"(--allow-\w+) (\d+)", done["out"])
            assert asked, done["out"]
            done = clerk.roster(rows, "--full", *(text for pair in asked for text in pair))
        assert done["exit"] == 0, done["out"]
        society.remember(str(now.date()))
        stored = Member.select(
            Member.number, Member.branch, Member.name, Member.birth_date, Member.qualified_on,
            Member.lost_on, Member.delivery, Member.withheld,
        ).tuples()  # fmt: skip
        found = [
            (*row[:3], *(str(day or "") for day in row[3:6]), row[6], bool(row[7]))
            for row in stored
        ]
        assert sorted(found) == society.expected()

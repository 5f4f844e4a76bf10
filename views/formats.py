"""Format days and moments for pages, in Japanese by era or in English."""

from __future__ import annotations

import datetime as dt

from babel.dates import format_date
from flask_babel import get_locale

from accounts.keys import grouped
from dates import JST, WEEKDAYS, in_words, today
from views.services import now


def language() -> str:
    """Return the language of the page: ja or en."""
    locale = get_locale()
    return locale.language if locale else "ja"


def wareki_plain(day: dt.date | None) -> str:
    """Return the day by its era, e.g. 令和10年12月1日, or an empty string for None."""
    return in_words(day) if day else ""


def wareki(day: dt.date | None) -> str:
    """Return the day by its era and the western year, e.g. 令和10年12月1日(2028年), or an empty string
    for None."""
    return f"{in_words(day)}({day.year}年)" if day else ""


def day(day: dt.date | None) -> str:
    """Return the day in the language of the page, e.g. 令和10年12月1日 or 1 December 2028, or an empty
    string for None."""
    if day is None:
        return ""
    return format_date(day, "d MMMM y", "en") if language() == "en" else in_words(day)


def time_of_day(at: float) -> str:
    """Return the time alone, e.g. 14時20分 or 14:20, if `at` is today. Otherwise return the day too,
    as `moment` does."""
    return _time(dt.datetime.fromtimestamp(at, JST)) if today(at) == today(now()) else moment(at)


def moment(at: float) -> str:
    """Return the day and the time, e.g. 11月23日(月) 14時5分 or Mon 23 November, 14:05. `at` is in
    seconds since 1970."""
    day = dt.datetime.fromtimestamp(at, JST)
    if language() == "en":
        return f"{format_date(day, 'EEE d MMMM', 'en')}, {_time(day)}"
    return f"{day.month}月{day.day}日({WEEKDAYS[day.weekday()]}) {_time(day)}"


def _time(at: dt.datetime) -> str:
    return f"{at:%H:%M}" if language() == "en" else f"{at.hour}時{at.minute}分"


FILTERS = {
    "wareki": wareki,
    "wareki_plain": wareki_plain,
    "day": day,
    "moment": moment,
    "grouped": grouped,
}

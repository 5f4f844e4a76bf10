"""Days and moments as pages write them, in Japanese by era or in English."""

from __future__ import annotations

import datetime as dt

from babel.dates import format_date
from flask_babel import get_locale

from accounts.keys import grouped
from dates import JST, WEEKDAYS, in_words, today
from views.services import now


def language() -> str:
    """Return the language that the page is in: ja or en."""
    locale = get_locale()
    return locale.language if locale else "ja"


def wareki_plain(day: dt.date | None) -> str:
    """Return 令和10年12月1日."""
    return in_words(day) if day else ""


def wareki(day: dt.date | None) -> str:
    """Return 令和10年12月1日(2028年)."""
    return f"{in_words(day)}({day.year}年)" if day else ""


def day(day: dt.date | None) -> str:
    """Return 令和10年12月1日, or 1 December 2028."""
    if day is None:
        return ""
    return format_date(day, "d MMMM y", "en") if language() == "en" else in_words(day)


def time_of_day(at: float) -> str:
    """Return 14時20分, or 14:20; with its day, as `moment` has it, unless that is today."""
    return _time(dt.datetime.fromtimestamp(at, JST)) if today(at) == today(now()) else moment(at)


def moment(at: float) -> str:
    """Return 11月23日(月) 14時5分, or Mon 23 November, 14:20."""
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

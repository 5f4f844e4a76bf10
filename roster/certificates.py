"""The rules for the columns about the certificate, which depend on each other."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any, NamedTuple

from dates import birthday


class Certificate(NamedTuple):
    """The values of the columns about the certificate, and messages about them: the column, whether
    it is an error, and the text."""

    delivery: str | None
    withheld: int | None
    complaints: tuple[tuple[str, bool, str], ...]


class Certificates(dict[tuple[Any, ...], Certificate]):
    """Applies the rules to the columns about the certificate, and remembers the result of each
    combination of values."""

    columns = (
        "issue_reason",
        "delivery",
        "issued_on",
        "expires_on",
        "copay",
        "effective_on",
        "withheld",
    )

    def __init__(self, has_reason: bool, delivery: str | None = None) -> None:
        """`delivery` is the delivery of a row that has a 交付事由 but no 交付方法."""
        self._has_reason, self._delivery = has_reason, delivery
        self.says_delivery = False
        """Whether any row so far has a 交付事由 or a 交付方法."""

    def __missing__(self, key: tuple[Any, ...]) -> Certificate:
        if len(self) >= 20_000:
            self.clear()
        self[key] = found = self._certificate(*key)
        return found

    def _certificate(
        self,
        reason: int | None,
        delivery: str | None,
        issued: str,
        expires: str,
        copay: int | None,
        effective: str,
        withheld: int | None,
    ) -> Certificate:
        complaints = []
        self.says_delivery |= reason is not None or delivery is not None
        if reason == 7:
            if delivery == "web":
                complaints.append(
                    ("delivery", False, "交付事由7の人は必ず紙で交付します。紙として取り込みます")
                )
            if withheld == 0:
                complaints.append(
                    ("withheld", False, "交付事由7の人は必ず不開示です。不開示として取り込みます")
                )
            delivery, withheld = "paper", 1
        if reason is not None and delivery is None:
            delivery = self._delivery
        if reason is not None and delivery is None:
            complaints.append(
                ("delivery", True, "空です。交付事由があるときは WEB か 紙 を入力してください")
            )
        if reason is not None or (delivery is not None and not self._has_reason):
            for name, value in (("issued_on", issued), ("expires_on", expires)):
                if value == "":
                    complaints.append(
                        (name, True, "空です。資格確認書を交付する人には日付を入力してください")
                    )
        elif delivery is not None:
            complaints.append(("delivery", False, "交付事由が空なので、資格確認書は交付しません"))
            delivery = None
        complaints += [(name, True, text) for name, text in date_faults(issued, expires)]
        if copay is not None and effective == "":
            complaints.append(
                (
                    "effective_on",
                    True,
                    "空です。一部負担金の割合があるときは発効期日を入力してください",
                )
            )
        return Certificate(delivery or "none", withheld, tuple(complaints))


def date_faults(issued: str, expires: str) -> Iterator[tuple[str, str]]:
    """Yield the faults of the two dates of a certificate as (column, text). The dates are written
    as 1980-01-01, or empty. The certificate may last for five years at most, including the first
    day (規則47条2項)."""
    if not (issued and expires):
        return
    if expires <= issued:
        yield (
            "expires_on",
            f"交付年月日（{issued}）以前です。交付年月日より後の日付を入力してください",
        )
    if expires >= f"{int(issued[:4]) + 5}{issued[4:]}":
        yield (
            "expires_on",
            f"交付年月日（{issued}）から5年以上後です。5年後の前日までの日付を入力してください",
        )


def copay_from(born: dt.date) -> dt.date:
    """Return the day from which the 負担割合 is shown: the first day of the month after the 70th
    birthday, or the birthday itself if it is the first of a month."""
    turned = birthday(born, 70)
    return (
        turned
        if turned.day == 1
        else (turned.replace(day=1) + dt.timedelta(days=32)).replace(day=1)
    )


def birthday_before(day: dt.date, age: int) -> str:
    """Return the latest date of birth, as 1956-11-23, of people who are at least `age` years old on
    that day."""
    return f"{day.year - age}{day.isoformat()[4:]}"

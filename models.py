"""The tables, and the rules of eligibility as their methods.

Rules take the day (Asia/Tokyo) or the moment (seconds since 1970) as an argument and return plain
values. Nothing here imports Flask. Sources: 健康保険法施行規則47条 and the insurer's notice on WEB交付.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any

from peewee import (
    BigIntegerField,
    BooleanField,
    Case,
    CharField,
    DateField,
    ForeignKeyField,
    IntegerField,
    Model,
    SmallIntegerField,
    TextField,
)

from database import database
from dates import birthday

SUBSCRIBER, DEPENDENT = 1, 2  # 本人, 家族
# how the certificate is delivered; NONE is a マイナ保険証 user
NONE, WEB, PAPER = "none", "web", "paper"

SESSION_IDLE = 30 * 60
SESSION_IDLE_TRUSTED = 12 * 3600
SESSION_LIFE = 12 * 3600
DISPLAY_LIFE = 15 * 60
AHEAD = 60
"""Seconds that another machine's clock may be ahead. What is dated later stems from a clock that
was set back, and is over."""
SEEN_EVERY = 30
"""Seconds between two notes of a session's last page view, so that not every page writes."""


class Stale(Exception):
    """The account's password or address has changed since it was read."""


class Table(Model):
    id: Any

    class Meta:
        database = database
        legacy_table_names = False


class Member(Table):
    """A person on the roster (加入者), with the data of their certificate.

    The natural key is `household` (insurer number, symbol and number, width-folded) with `branch`,
    or `person_id` if the roster has one. `public_id` names the certificate in URLs, and has 96
    random bits.
    """

    public_id = CharField(unique=True, max_length=24)
    person_id = CharField(null=True, unique=True)
    household = CharField()
    insurer_number = CharField(max_length=8)
    symbol = CharField(default="")
    number = CharField()
    branch = CharField(default="", max_length=2)
    name = CharField()
    kana = CharField(default="")
    birth_date = DateField()
    sex = SmallIntegerField()
    relation = SmallIntegerField()
    qualified_on = DateField()
    lost_on = DateField(null=True)
    workplace = CharField(default="")
    delivery = CharField(max_length=5)
    issued_on = DateField(null=True)
    expires_on = DateField(null=True)
    copay = SmallIntegerField(null=True)  # percent: 10, 20 or 30
    effective_on = DateField(null=True)
    remarks = TextField(default="")
    withheld = BooleanField(default=False)
    # an adult dependent whom the subscriber lets show the children's
    shows_children = BooleanField(default=False)
    # the id of the subscriber who lets them, or said that they do not; see guards_on
    allowed_by = IntegerField(null=True)

    class Meta:
        indexes = ((("household", "branch"), False),)

    @property
    def last_day(self) -> dt.date | None:
        """Return the last day on which the certificate is valid, or None if it has no expiry. It
        ends by its expiry, and at the latest on the day before the 75th birthday."""
        if self.expires_on is None:
            return None
        return min(self.expires_on, birthday(self.birth_date, 75) - dt.timedelta(days=1))

    def state_on(self, day: dt.date) -> str:
        """Return `valid`, or the first reason why the certificate is not valid on that day:
        `ended`, `none`, `paper`, `not_yet` or `expired`."""
        if self.lost_on is not None and self.lost_on <= day:
            return "ended"
        if self.delivery != WEB:
            return self.delivery
        if day < self.first_day:
            return "not_yet"
        if self.last_day is None or self.last_day < day:
            return "expired"
        return "valid"

    @property
    def first_day(self) -> dt.date:
        """Return the first day on which the certificate is issued and its owner is qualified."""
        return max(self.qualified_on, self.issued_on or self.qualified_on)

    @property
    def last_covered(self) -> dt.date | None:
        """Return the day before the day of loss, or None if that is not known."""
        return self.lost_on - dt.timedelta(days=1) if self.lost_on else None

    def covered_on(self, day: dt.date) -> bool:
        """Return whether they are eligible on that day, which ends before the day of loss."""
        return self.qualified_on <= day and (self.lost_on is None or day < self.lost_on)

    def is_child_on(self, day: dt.date, guardian_age: int) -> bool:
        """Return whether this is a dependent younger than `guardian_age` years, whose certificate
        others may show."""
        return self.relation == DEPENDENT and day < birthday(self.birth_date, guardian_age)

    def subscriber_on(self, day: dt.date) -> Member | None:
        """Return the household's subscriber on that day, or None. If several are covered then,
        return the newest.

        A 記号・番号 may be given to another person later, so a household can have several subscribers. A
        dependent's certificate names the subscriber (47条3項), even if that person is withheld. A
        dependent's letter is addressed to them.
        """
        return newest_subscriber(Member, self.household, day).first()

    def guards_on(self, day: dt.date, guardian_age: int, subscriber: Member | None) -> bool:
        """Return whether this person may show the certificates of the household's children on that
        day.

        The household's `subscriber` on that day may, and so may an adult dependent whom that same
        subscriber allowed. Nobody may whose own cover does not run: the 記号・番号 may be another
        family's by now.
        """
        if subscriber is None or subscriber.id is None or subscriber.withheld or self.withheld:
            return False
        if not self.covered_on(day):
            return False
        if self.id == subscriber.id:
            return True
        allowed = self.shows_children and self.allowed_by == subscriber.id
        return allowed and self.relation == DEPENDENT and not self.is_child_on(day, guardian_age)

    def may_show(
        self, other: Member, day: dt.date, guardian_age: int, subscriber: Member | None = None
    ) -> bool:
        """Return whether this person's login may open the certificate of `other` on that day.

        - Members may show their own certificate.
        - Those who guard the household's children may show the children's, while the children are covered.
        - Nobody may show a withheld member's, and a withheld member shows nothing.

        `subscriber` is the household's on that day; it is looked up if it is not given.
        """
        if other.withheld or self.withheld:
            return False
        if other.id == self.id:
            return True
        is_child = other.covered_on(day) and other.is_child_on(day, guardian_age)
        if other.household != self.household or not is_child:
            return False
        return self.guards_on(day, guardian_age, subscriber or self.subscriber_on(day))

    def family_on(self, day: dt.date, guardian_age: int) -> list[Member]:
        """Return the other members that this person's home page lists on that day. Those whose
        certificate this person can show come first.

        The subscriber sees every dependent who is covered and not withheld. An adult dependent whom
        the subscriber has allowed sees the children. Everybody else gets an empty list.
        """
        subscriber = self.subscriber_on(day)
        if subscriber is None or not self.guards_on(day, guardian_age, subscriber):
            return []
        others = (Member.household == self.household) & (Member.id != self.id) & ~Member.withheld
        family = Member.select().where(others, Member.relation == DEPENDENT)
        youngest_first = family.order_by(Member.birth_date.desc(), Member.id)
        listed = [m for m in youngest_first if m.covered_on(day)]
        if self.id != subscriber.id:
            listed = [m for m in listed if m.is_child_on(day, guardian_age)]
        return sorted(listed, key=lambda m: not self.can_show(m, day, guardian_age, subscriber))

    def can_show(
        self, other: Member, day: dt.date, guardian_age: int, subscriber: Member | None = None
    ) -> bool:
        """Return whether the certificate of `other` is valid on that day and may be shown here."""
        valid = other.state_on(day) == "valid"
        return valid and self.may_show(other, day, guardian_age, subscriber)

    def shows_others_on(self, day: dt.date, guardian_age: int) -> bool:
        """Return whether this person can show another member's certificate on that day."""
        first = next(iter(self.family_on(day, guardian_age)), None)
        return first is not None and self.can_show(first, day, guardian_age)


def newest_subscriber(people: Any, household: Any, day: dt.date) -> Any:
    """Return a query for the household's newest subscriber among those who are covered on that day.

    `people` is Member or an alias of it. `household` is a value or a column of another table.
    """
    covered = (people.qualified_on <= day) & (people.lost_on.is_null() | (people.lost_on > day))
    found = people.select(people).where(
        people.household == household, people.relation == SUBSCRIBER, covered
    )
    return found.order_by(people.qualified_on.desc(), people.id.desc()).limit(1)


class Account(Table):
    """The login of a member. Withheld members have none."""

    member_id: Any
    member = ForeignKeyField(Member, primary_key=True, backref="accounts", on_delete="CASCADE")
    login_id = CharField(unique=True)
    temporary_hash = CharField(null=True)  # keyed, of the letter's password, until registration
    password_hash = CharField(null=True)  # argon2id, from then on
    email = CharField(null=True)
    email_key = CharField(null=True, unique=True)  # the address folded: it is nobody else's
    registered_at = BigIntegerField(null=True)

    @property
    def mark(self) -> str:
        """Return a hash that changes with the password and the address. Cookies and links that were
        made after a right password, or for the present address, are bound to it."""
        text = f"{self.password_hash}\n{self.temporary_hash}\n{self.email_key}"
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def lock(self) -> Account | None:
        """Lock the row until the transaction ends, and return it as it is now, or None."""
        rows = Account.select().where(Account.member == self.member_id)
        return (rows.for_update() if database.for_update else rows).first()

    def hold(self) -> None:
        """Lock the row. Raise Stale if its password or address has changed since it was read."""
        if (now := self.lock()) is None or now.mark != self.mark:
            raise Stale


class Trust(Table):
    """A phone that needs no code until `expires_at`. `id` is the hash of its cookie's secret."""

    id = CharField(primary_key=True, max_length=64)
    account = ForeignKeyField(Account, backref="trusts", on_delete="CASCADE")
    created_at = BigIntegerField()
    expires_at = BigIntegerField()
    device = CharField(default="")


class Passkey(Table):
    """A key that a phone keeps behind its lock. Here is its public half, in COSE and base64url."""

    id = CharField(primary_key=True, max_length=32)
    account = ForeignKeyField(Account, backref="passkeys", on_delete="CASCADE")
    credential = CharField(unique=True, max_length=1400)  # 1,023 bytes at most, in base64url
    public_key = TextField()
    uses = BigIntegerField()  # as the phone last stated; 0 if it counts none
    device = CharField(default="")
    created_at = BigIntegerField()
    used_at = BigIntegerField(null=True)


class Session(Table):
    """A login on one browser. This row, not the cookie, decides whether it is still valid."""

    account_id: Any
    trust_id: Any
    id = CharField(primary_key=True, max_length=32)
    account = ForeignKeyField(Account, backref="sessions", on_delete="CASCADE")
    trust = ForeignKeyField(Trust, null=True, backref="sessions", on_delete="SET NULL")
    trusted = BooleanField(default=False)  # by a trust, even one removed since, or by a passkey
    created_at = BigIntegerField()
    seen_at = BigIntegerField()
    ended_at = BigIntegerField(null=True)
    device = CharField(default="")
    passkey = CharField(null=True, max_length=32)  # the id of the one that it began with

    is_authenticated = is_active = True  # to flask-login the session is a user
    is_anonymous = False

    def get_id(self) -> str:
        return self.id

    def runs_at(self, now: float) -> bool:
        """Return whether it has not ended, was seen in time, and began less than 12 hours ago."""
        idle = SESSION_IDLE_TRUSTED if self.trusted else SESSION_IDLE
        seen = -AHEAD <= now - self.seen_at < idle + SEEN_EVERY
        return self.ended_at is None and seen and now < self.created_at + SESSION_LIFE

    @classmethod
    def runs(cls, now: float) -> Any:
        """Return the condition of runs_at as a clause for queries."""
        idle = Case(None, [(cls.trusted, SESSION_IDLE_TRUSTED)], SESSION_IDLE)
        seen = (cls.seen_at + idle + SEEN_EVERY > int(now)) & (cls.seen_at <= int(now) + AHEAD)
        return cls.ended_at.is_null() & seen & (cls.created_at > int(now) - SESSION_LIFE)


class Challenge(Table):
    """A one-time code that was sent: its purpose, and what to store once it is entered."""

    account_id: Any
    id = CharField(primary_key=True, max_length=32)
    account = ForeignKeyField(Account, backref="challenges", on_delete="CASCADE")
    purpose = CharField(max_length=8)  # login, register, email; empty once the code was entered
    email = CharField(null=True)  # the new address, where the purpose is one
    password_hash = CharField(null=True)  # the new password, on first use
    decoy = BooleanField(default=False)  # the address is somebody else's: no code will ever fit
    tries = SmallIntegerField(default=0)
    created_at = BigIntegerField()
    used_at = BigIntegerField(null=True)  # entered, or voided by a newer one


class Mail(Table):
    """A mail in the queue. Its text is made when it is sent, and then its address is deleted."""

    account_id: Any
    challenge_id: Any
    kind = CharField(max_length=16)
    account = ForeignKeyField(Account, null=True, on_delete="CASCADE")
    challenge = ForeignKeyField(Challenge, null=True, backref="mails", on_delete="CASCADE")
    address = CharField(default="")
    state = CharField(max_length=8, default="waiting")  # waiting, paced, sent, failed
    attempts = SmallIntegerField(default=0)
    created_at = BigIntegerField()
    due_at = BigIntegerField()

    class Meta:
        indexes = ((("state", "due_at"), False),)

    @classmethod
    def queue(cls, kind: str, account: Account | None, address: str, now: float) -> Mail:
        """Queue a mail, which a thread of the mailer will send."""
        at = int(now)
        return cls.create(kind=kind, account=account, address=address, created_at=at, due_at=at)


class Display(Table):
    """A record that a person opened a certificate's page. Its polls are not recorded."""

    id = CharField(primary_key=True, max_length=32)
    session = ForeignKeyField(Session, on_delete="CASCADE")
    viewer = ForeignKeyField(Member, on_delete="CASCADE", backref="shown")
    member = ForeignKeyField(Member, on_delete="CASCADE", backref="displays")
    started_at = BigIntegerField()


class Counter(Table):
    """Tries counted against one limit. `id` is a keyed hash, which holds no address and no login.
    Rows named `mail.…` are kept by accounts.housekeeping."""

    id = CharField(primary_key=True, max_length=64)
    count = IntegerField()
    since = BigIntegerField()
    until = BigIntegerField(default=0)  # refused before this moment


class Audit(Table):
    """The audit trail: which action, by whom, on whose account. It names members by row id alone."""

    at = BigIntegerField(index=True)
    action = CharField()
    actor = IntegerField(null=True)  # who was logged in; null if it was the clerk, or nobody known
    member = IntegerField(null=True)
    detail = CharField(default="")

    @classmethod
    def note(
        cls, now: float, action: str, actor: int | None, member: int | None = None, detail: str = ""
    ) -> None:
        """Write one entry."""
        cls.create(at=int(now), action=action, actor=actor, member=member or actor, detail=detail)


class RosterImport(Table):
    """An import that was applied."""

    at = BigIntegerField()
    added = IntegerField()
    changed = IntegerField()
    ended = IntegerField()
    unchanged = IntegerField()


_LOGINS = Account, Trust, Passkey, Session, Challenge
TABLES = (Member, *_LOGINS, Mail, Display, Counter, Audit, RosterImport)

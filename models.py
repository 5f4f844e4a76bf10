"""The tables, and the rules about eligibility that they carry.

Rules take the day (Asia/Tokyo) or the moment (seconds since 1970) as an argument and return plain
values. Nothing here knows Flask. Sources: 健康保険法施行規則47条 and the insurer's notice on WEB交付.
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
    """The password that was proven is no longer the account's."""


class Table(Model):
    id: Any

    class Meta:
        database = database
        legacy_table_names = False


class Member(Table):
    """A person of the roster (加入者) with what their certificate states.

    The natural key is `household` (insurer number, symbol and number, width-folded) with `branch`;
    where the roster has a `person_id`, that is the key. `public_id` names the certificate in
    addresses, by 96 random bits.
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
    allowed_by = IntegerField(null=True)  # the id of the subscriber who lets them; see guards_on

    class Meta:
        indexes = ((("household", "branch"), False),)

    @property
    def last_day(self) -> dt.date | None:
        """The last day on which the certificate counts: its expiry, at the latest the day before
        the 75th birthday."""
        if self.expires_on is None:
            return None
        return min(self.expires_on, birthday(self.birth_date, 75) - dt.timedelta(days=1))

    def state_on(self, day: dt.date) -> str:
        """Return `valid`, or the first reason why it is not on that day: `ended`, `none`, `paper`,
        `not_yet`, `expired`."""
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
        """The first day on which the certificate counts: it is issued, and its owner is covered."""
        return max(self.qualified_on, self.issued_on or self.qualified_on)

    @property
    def last_covered(self) -> dt.date | None:
        """The last day of the eligibility, the day before that of loss; None if it is not known."""
        return self.lost_on - dt.timedelta(days=1) if self.lost_on else None

    def covered_on(self, day: dt.date) -> bool:
        """Return whether the eligibility runs on that day. The day of loss is already outside."""
        return self.qualified_on <= day and (self.lost_on is None or day < self.lost_on)

    def is_child_on(self, day: dt.date, guardian_age: int) -> bool:
        """Return whether this is a dependent younger than `guardian_age` years, whose certificate
        others of the household may show."""
        return self.relation == DEPENDENT and day < birthday(self.birth_date, guardian_age)

    def subscriber_on(self, day: dt.date) -> Member | None:
        """Return the household's subscriber on that day: of those who are covered the newest, or
        None.

        A 記号・番号 may be handed on, so there may have been others. A dependent's certificate names the
        subscriber (47条3項), a withheld one too, and a dependent's letter is addressed to them.
        """
        return newest_subscriber(Member, self.household, day).first()

    def guards_on(self, day: dt.date, guardian_age: int, subscriber: Member | None) -> bool:
        """Return whether this person may show the certificates of the household's children on that
        day.

        The household's `subscriber` on that day may, and so may an adult dependent whom that same
        subscriber allowed. Nobody may whose own cover does not run: the 記号・番号 may be another
        family's by now.
        """
        if subscriber is None or subscriber.id is None or subscriber.withheld:
            return False
        if self.withheld or not self.covered_on(day):
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
        if other.household != self.household or not other.covered_on(day):
            return False
        if not other.is_child_on(day, guardian_age):
            return False
        return self.guards_on(day, guardian_age, subscriber or self.subscriber_on(day))

    def family_on(self, day: dt.date, guardian_age: int) -> list[Member]:
        """Return the others whom this person's home lists on that day, those whose certificate they
        can show now first.

        The subscriber sees every dependent who is covered and not withheld. An allowed adult
        dependent sees the children, and anybody else nobody.
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
        """Return whether this person can show somebody else's certificate on that day."""
        first = next(iter(self.family_on(day, guardian_age)), None)
        return first is not None and self.can_show(first, day, guardian_age)


def newest_subscriber(people: Any, household: Any, day: dt.date) -> Any:
    """Return the query for the newest of a household's subscribers who are covered on that day.

    `people` is Member or an alias of it; `household` may be the column of another.
    """
    covered = (people.qualified_on <= day) & (people.lost_on.is_null() | (people.lost_on > day))
    found = people.select(people).where(
        people.household == household, people.relation == SUBSCRIBER, covered
    )
    return found.order_by(people.qualified_on.desc(), people.id.desc()).limit(1)


class Account(Table):
    """The login of a member. There is none for a withheld person."""

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
        """A mark of the present password and address. Whoever gave the password has proven it,
        until either changes."""
        text = f"{self.password_hash}\n{self.temporary_hash}\n{self.email_key}"
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def hold(self) -> None:
        """Lock the row until the transaction ends. Raise Stale if its password or address has
        changed since it was read."""
        rows = Account.select().where(Account.member == self.member_id)
        now = (rows.for_update() if database.for_update else rows).first()
        if now is None or now.mark != self.mark:
            raise Stale


class Trust(Table):
    """A phone that needs no code for a while. `id` is the hash of what its cookie holds."""

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
    """A login on one browser. It, not the cookie, says whether somebody is logged in."""

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
        """Return whether this login still counts: it has not ended, was seen within the idle time,
        and began within 12 hours."""
        idle = SESSION_IDLE_TRUSTED if self.trusted else SESSION_IDLE
        seen = -AHEAD <= now - self.seen_at < idle + SEEN_EVERY
        return self.ended_at is None and seen and now < self.created_at + SESSION_LIFE

    @classmethod
    def runs(cls, now: float) -> Any:
        """Return `runs_at` as a clause of a query."""
        idle = Case(None, [(cls.trusted, SESSION_IDLE_TRUSTED)], SESSION_IDLE)
        seen = (cls.seen_at + idle + SEEN_EVERY > int(now)) & (cls.seen_at <= int(now) + AHEAD)
        return cls.ended_at.is_null() & seen & (cls.created_at > int(now) - SESSION_LIFE)


class Challenge(Table):
    """A one-time code on its way: what it proves, and for which step. The code is not stored."""

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
    """A mail to be sent. Its text is made when it goes out; then its address is emptied."""

    account_id: Any
    challenge_id: Any
    kind = CharField(max_length=16)
    account = ForeignKeyField(Account, null=True, on_delete="CASCADE")
    challenge = ForeignKeyField(Challenge, null=True, backref="mails", on_delete="CASCADE")
    address = CharField(default="")
    state = CharField(max_length=8, default="waiting")  # waiting, sent, failed
    attempts = SmallIntegerField(default=0)
    created_at = BigIntegerField()
    due_at = BigIntegerField()

    class Meta:
        indexes = ((("state", "due_at"), False),)

    @classmethod
    def queue(cls, kind: str, account: Account | None, address: str, now: float) -> Mail:
        """Have a mail sent, off the request's path."""
        at = int(now)
        return cls.create(kind=kind, account=account, address=address, created_at=at, due_at=at)


class Display(Table):
    """A certificate shown: who, whose, since when. Polls are not recorded."""

    id = CharField(primary_key=True, max_length=32)
    session = ForeignKeyField(Session, on_delete="CASCADE")
    viewer = ForeignKeyField(Member, on_delete="CASCADE", backref="shown")
    member = ForeignKeyField(Member, on_delete="CASCADE", backref="displays")
    started_at = BigIntegerField()


class Counter(Table):
    """Tries counted against one limit. `id` is a keyed hash: no address or login stands here.

    Rows named `mail.…` are kept by accounts.housekeeping.
    """

    id = CharField(primary_key=True, max_length=64)
    count = IntegerField()
    since = BigIntegerField()
    until = BigIntegerField(default=0)  # refused before this moment


class Audit(Table):
    """What happened, to whom, by whom: no password, code or token, and no personal data but the row
    ids."""

    at = BigIntegerField(index=True)
    action = CharField()
    actor = IntegerField(null=True)  # who was logged in; null if it was the clerk, or nobody known
    member = IntegerField(null=True)
    detail = CharField(default="")

    @classmethod
    def note(
        cls, now: float, action: str, actor: int | None, member: int | None = None, detail: str = ""
    ) -> None:
        """Write one line of the trail."""
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

"""The tables, and the rules about eligibility that they carry.

Rules take the day (Asia/Tokyo) or the moment (seconds since 1970) as an argument and return plain values. Nothing here
knows Flask. Sources: 健康保険法施行規則47条 and the insurer's notice on WEB交付.
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
from dates import birthday, today

SUBSCRIBER, DEPENDENT = 1, 2  # 本人, 家族
NONE, WEB, PAPER = "none", "web", "paper"  # how the certificate is delivered; NONE is a マイナ保険証 user

SESSION_IDLE = 30 * 60
SESSION_IDLE_TRUSTED = 12 * 3600
SESSION_LIFE = 12 * 3600
DISPLAY_LIFE = 15 * 60
AHEAD = 60
"""Seconds that another machine's clock may be ahead. What is dated later stems from a clock that was set back, and is over."""
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

    The natural key is `household` (insurer number, symbol and number, width-folded) with `branch`; where the roster has a
    `person_id`, that is the key. `public_id` names the certificate in addresses, by at least 76 random bits.
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
    shows_children = BooleanField(default=False)  # an adult dependent whom the subscriber lets show the children's

    class Meta:
        indexes = ((("household", "branch"), False),)

    @property
    def last_day(self) -> dt.date | None:
        """The last day the certificate counts, inclusive: its expiry, at the latest the day before the 75th birthday."""
        if self.expires_on is None:
            return None
        return min(self.expires_on, birthday(self.birth_date, 75) - dt.timedelta(days=1))

    def state_on(self, day: dt.date) -> str:
        """`valid` on that day, or the first reason why not: `ended`, `none`, `paper`, `not_yet`, `expired`."""
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
        """The first day the certificate counts: issued and qualified."""
        return max(self.qualified_on, self.issued_on or self.qualified_on)

    @property
    def last_covered(self) -> dt.date | None:
        """The last day of the eligibility, where its end is known: the day before that of loss."""
        return self.lost_on - dt.timedelta(days=1) if self.lost_on else None

    def covered_on(self, day: dt.date) -> bool:
        """Whether the eligibility runs on that day. The day of loss itself is already outside."""
        return self.qualified_on <= day and (self.lost_on is None or day < self.lost_on)

    def is_child_on(self, day: dt.date, guardian_age: int) -> bool:
        """Whether others of the household may show this dependent's certificate: younger than `guardian_age` years."""
        return self.relation == DEPENDENT and day < birthday(self.birth_date, guardian_age)

    def may_show(self, other: Member, day: dt.date, guardian_age: int) -> bool:
        """Whether this person's login may open the certificate of `other` on that day.

        One's own; the subscriber those of the household's children; an adult dependent those too where the subscriber
        allowed it. Nobody's who is withheld.
        """
        if other.withheld or self.withheld:
            return False
        if other.id == self.id:
            return True
        guardian = self.relation == SUBSCRIBER or (
            self.shows_children and not self.is_child_on(day, guardian_age) and self.covered_on(day)
        )
        return guardian and other.household == self.household and other.is_child_on(day, guardian_age)

    def family_on(self, day: dt.date, guardian_age: int) -> list[Member]:
        """The others whom this person's home lists: for the subscriber every dependent who is covered and not withheld,
        for an allowed adult dependent the children, for anyone else nobody."""
        if self.relation != SUBSCRIBER and not self.shows_children:
            return []
        others = Member.select().where(
            Member.household == self.household,
            Member.id != self.id,
            Member.relation == DEPENDENT,
            ~Member.withheld,
        )
        listed = [m for m in others.order_by(Member.birth_date.desc(), Member.id) if m.covered_on(day)]
        return listed if self.relation == SUBSCRIBER else [m for m in listed if self.may_show(m, day, guardian_age)]


class Account(Table):
    """The login of a member. There is none for a withheld person."""

    member_id: Any
    member = ForeignKeyField(Member, primary_key=True, backref="accounts", on_delete="CASCADE")
    login_id = CharField(unique=True)
    temporary_hash = CharField(null=True)  # keyed hash of the letter's password, until the registration is finished
    password_hash = CharField(null=True)  # argon2id, from then on
    email = CharField(null=True)
    email_key = CharField(null=True, unique=True)  # the address folded for comparison: it belongs to nobody else
    registered_at = BigIntegerField(null=True)

    @property
    def mark(self) -> str:
        """What somebody proved who gave the present password; it changes with the password and with the address."""
        return hashlib.sha256(f"{self.password_hash}\n{self.temporary_hash}\n{self.email_key}".encode()).hexdigest()[:24]

    def hold(self) -> None:
        """Lock the row until the transaction ends. Raise Stale if its password or address has changed since it was read."""
        rows = Account.select().where(Account.member == self.member_id)
        now = (rows.for_update() if database.for_update else rows).first()
        if now is None or now.mark != self.mark:
            raise Stale


class Trust(Table):
    """A phone that passed the one-time code and needs none for a while. `id` is the hash of what its cookie holds."""

    id = CharField(primary_key=True, max_length=64)
    account = ForeignKeyField(Account, backref="trusts", on_delete="CASCADE")
    created_at = BigIntegerField()
    expires_at = BigIntegerField()
    device = CharField(default="")


class Passkey(Table):
    """A key that a phone keeps behind its lock: the public half, and the number of uses that the phone last stated."""

    account_id: Any
    id = CharField(primary_key=True, max_length=32)
    account = ForeignKeyField(Account, backref="passkeys", on_delete="CASCADE")
    credential = CharField(unique=True, max_length=1400)  # its name at the phone: at most 1,023 bytes, in base64url
    public_key = TextField()  # COSE, in base64url
    uses = BigIntegerField()  # 0 where the phone counts none
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
    trusted = BooleanField(default=False)  # by a trust, which is emptied when it is removed, or by a passkey
    created_at = BigIntegerField()
    seen_at = BigIntegerField()
    ended_at = BigIntegerField(null=True)
    device = CharField(default="")
    passkey = CharField(null=True, max_length=32)  # the id of the one that it began with

    is_authenticated = is_active = True  # what flask-login asks of a user: to it, the session is one
    is_anonymous = False

    def get_id(self) -> str:
        return self.id

    def runs_at(self, now: float) -> bool:
        """Whether this login still counts: not ended, seen within the idle time, begun within 12 hours."""
        idle = SESSION_IDLE_TRUSTED if self.trusted else SESSION_IDLE
        seen = -AHEAD <= now - self.seen_at < idle + SEEN_EVERY
        return self.ended_at is None and seen and now < self.created_at + SESSION_LIFE

    @classmethod
    def runs(cls, now: float) -> Any:
        """runs_at as a clause of a query."""
        idle = Case(None, [(cls.trusted, SESSION_IDLE_TRUSTED)], SESSION_IDLE)
        seen = (cls.seen_at + idle + SEEN_EVERY > int(now)) & (cls.seen_at <= int(now) + AHEAD)
        return cls.ended_at.is_null() & seen & (cls.created_at > int(now) - SESSION_LIFE)


class Challenge(Table):
    """A one-time code on its way: what it proves, and what to do once it is proven. The code itself is not stored."""

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
    """A mail to be sent, without its text, which is made when it goes out. The address is emptied once it is gone."""

    account_id: Any
    challenge_id: Any
    kind = CharField(max_length=16)
    account = ForeignKeyField(Account, null=True, on_delete="CASCADE")
    challenge = ForeignKeyField(Challenge, null=True, backref="mails", on_delete="CASCADE")
    address = CharField(default="")
    state = CharField(max_length=8, default="waiting")  # waiting, sending, sent, failed
    attempts = SmallIntegerField(default=0)
    created_at = BigIntegerField()
    due_at = BigIntegerField()

    class Meta:
        indexes = ((("state", "due_at"), False),)

    @classmethod
    def queue(cls, kind: str, account: Account | None, address: str, now: float) -> Mail:
        """Have a mail sent, off the request's path."""
        return cls.create(kind=kind, account=account, address=address, created_at=int(now), due_at=int(now))


class Display(Table):
    """A certificate shown: who, whose, since when. Polls are not recorded."""

    id = CharField(primary_key=True, max_length=32)
    session = ForeignKeyField(Session, on_delete="CASCADE")
    viewer = ForeignKeyField(Member, on_delete="CASCADE", backref="shown")
    member = ForeignKeyField(Member, on_delete="CASCADE", backref="displays")
    started_at = BigIntegerField()


class Counter(Table):
    """Tries counted against one limit. `id` is a keyed hash, so that no address or login stands here."""

    id = CharField(primary_key=True, max_length=64)
    count = IntegerField()
    since = BigIntegerField()
    until = BigIntegerField(default=0)  # refused before this moment


class Audit(Table):
    """What happened, to whom, by whom: no password, code or token, and no personal data but the row ids."""

    at = BigIntegerField(index=True)
    action = CharField()
    actor = IntegerField(null=True)  # the member logged in; null where the clerk or nobody known acted
    member = IntegerField(null=True)
    detail = CharField(default="")

    @classmethod
    def note(cls, now: float, action: str, actor: int | None, member: int | None = None, detail: str = "") -> None:
        """Write one line of the trail."""
        cls.create(at=int(now), action=action, actor=actor, member=member or actor, detail=detail)


class RosterImport(Table):
    """An import that was applied."""

    at = BigIntegerField()
    added = IntegerField()
    changed = IntegerField()
    ended = IntegerField()
    unchanged = IntegerField()

    @classmethod
    def age(cls, now: float) -> float | None:
        """Seconds since the last one; None before the first."""
        last = cls.select(cls.at).order_by(cls.id.desc()).first()
        return None if last is None else now - last.at

    @classmethod
    def is_old(cls, now: float, days: int) -> bool:
        """Whether the last one is more than so many days ago, or none came yet. Never with 0 days."""
        age = cls.age(now)
        return days > 0 and (age is None or age > days * 86400)


TABLES = (Member, Account, Trust, Passkey, Session, Challenge, Mail, Display, Counter, Audit, RosterImport)

_Viewer = Member.alias("viewer")
_SHOWN = ["id", "household", "relation", "birth_date", "qualified_on", "lost_on", "delivery"]
_SHOWN += ["issued_on", "expires_on", "withheld", "shows_children"]
_RUNS = ["trusted", "created_at", "seen_at", "ended_at"]
_LIVE_COLUMNS = [
    Display.started_at,
    *(getattr(Session, name) for name in _RUNS),
    *(getattr(Member, name) for name in _SHOWN),
    *(getattr(_Viewer, name) for name in _SHOWN),
]
_LIVE = (
    Display.select(*_LIVE_COLUMNS)
    .join(Session, on=(Display.session == Session.id))
    .switch(Display)
    .join(Member, on=(Display.member == Member.id))
    .switch(Display)
    .join(_Viewer, on=(Display.viewer == _Viewer.id))
)
_live_sql: dict[type, str] = {}


def live_display(display_id: str, session_id: str, public_id: str, now: float, guardian_age: int) -> bool:
    """Whether everything still allows this display to be live at the moment `now`.

    One indexed query, no write: the session runs, the 15 minutes are not over, the certificate is valid today, and its viewer
    may show it. Its SQL is put together once: a thousand renewals a second would spend most of their time on that.
    """
    kind = type(database.obj)
    if kind not in _live_sql:
        _live_sql[kind] = _LIVE.where(Display.id == "", Display.session == "", Member.public_id == "").sql()[0]
    row = database.execute_sql(_live_sql[kind], (display_id, session_id, public_id)).fetchone()
    if row is None:
        return False
    values = [column.python_value(value) for column, value in zip(_LIVE_COLUMNS, row, strict=True)]
    runs, shown = len(_RUNS) + 1, len(_RUNS) + 1 + len(_SHOWN)
    session = Session(**dict(zip(_RUNS, values[1:runs], strict=True)))
    if not -AHEAD <= now - values[0] < DISPLAY_LIFE or not session.runs_at(now):
        return False
    member = Member(**dict(zip(_SHOWN, values[runs:shown], strict=True)))
    viewer = Member(**dict(zip(_SHOWN, values[shown:], strict=True)))
    day = today(now)
    return member.state_on(day) == "valid" and viewer.may_show(member, day, guardian_age)

"""Send mail outside of requests. The queue is a table of the database, and WORKERS threads in each
process send what is due.

A mail's text is made when it is sent, so that no code and no link is stored. If a process dies,
another sends its mails. The address is deleted once a mail was sent or has failed.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import email.utils
import logging
import queue
import secrets
import smtplib
import threading
import time
from collections.abc import Callable
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Any

from peewee import Case, PeeweeException
from playhouse.pool import MaxConnectionsExceeded

import accounts
import dates
import models
from accounts import housekeeping
from accounts.codes import CODE_LIFE
from accounts.keys import grouped
from accounts.transport import Transport
from database import AWAY, connected, reason
from models import Account, Challenge, Mail, Member
from settings import insurer_of

WORKERS = 16
TELL_AFTER = 20
"""Seconds after which the person who waits is told that the mail could not be sent; it is tried on
nevertheless."""
RETRIES = (3, 15, 45, 120)
"""Seconds between tries of a code. After the second one failed the person is told, too."""
LATER = (*RETRIES, 300, 900, 1800, 3600, 7200, 14400, 25200, 32400)
"""Seconds between tries of a mail that nobody waits for: a day altogether."""
LEASE = 180
"""Seconds that a mail belongs to the thread that took it; then another may."""
AHEAD = 2 * LEASE, LATER[-1] + LEASE
"""How many seconds ahead a mail is due at the latest, one with a code and another. One that is due
later stems from a clock that was set back, and is due at once."""
NOTICES = {"turned_web": "web", "turned_paper": "paper"}
"""The kinds of mails that an import queues, and the delivery that they tell of. Their state is
`paced` where that of others is `waiting`."""
NOTICE_WORKERS = WORKERS // 4
"""Threads of a process that send notices at a time, so that a slow mail server leaves others for
the codes."""

log = logging.getLogger("kakunin.mail")


def state(challenge: Challenge, now: float) -> str:
    """Return the state of the code's mail as the waiting person is told it: `waiting`, `sent` or
    `failed`."""
    mail = Mail.select().where(Mail.challenge == challenge.id).order_by(Mail.id.desc()).first()
    if mail is None or mail.state == "sent":
        return "sent"
    late = mail.attempts >= 2 or now >= mail.created_at + TELL_AFTER
    return "failed" if mail.state == "failed" or late else "waiting"


class Mailer:
    """Send the mails that are due. `render(template, values)` returns a mail's text, whose first
    line is the subject."""

    def __init__(
        self,
        config: dict[str, Any],
        keys: Any,
        render: Callable[..., str],
        now: Callable[[], float],
    ) -> None:
        self.config, self.keys, self.render, self.now = config, keys, render, now
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._staffing = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._own = secrets.token_hex(8)
        self._notices = threading.Semaphore(NOTICE_WORKERS)
        self._beat_at = self._tidy_at = self._tell_at = self._away_at = 0.0

    def wake(self) -> None:
        """Say that there is something to send. The first call starts the threads."""
        self._staff()
        self._bell.put(None)

    def _staff(self) -> None:
        """Start the threads at the first call, and later replace any that have ended."""
        with self._staffing:
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            for _ in range(WORKERS - len(self._threads)):
                thread = threading.Thread(target=self._work, name="mail", daemon=True)
                self._threads.append(thread)
                thread.start()

    def _work(self) -> None:
        """Send mails as long as the process runs. Go on after any error of a mail or of the
        database."""
        transport = Transport(self.config["MAIL_URL"], self.config["MAIL_FROM"])
        while True:
            with contextlib.suppress(queue.Empty):
                self._bell.get(timeout=5)
            try:
                self._staff()
                self._tidy()
                while self._send_next(transport):
                    self._tidy()
            except AWAY as error:
                if self.now() >= self._away_at:  # sixteen threads would say so each second
                    self._away_at = self.now() + 10
                    log.warning("The database does not answer (%s); mails wait.", reason(error))
                time.sleep(1)
            except Exception as error:  # one round is lost, and this thread goes on
                log.error("Mails could not be sent: %s", reason(error))
                time.sleep(1)
            finally:
                transport.close()

    def _tidy(self) -> None:
        """Do the regular work of the process, in whichever thread comes first. Once a minute, note
        that mail threads run. Once an hour, delete old rows (see housekeeping.sweep). Once a day,
        log a warning if the roster is old.
        """
        now = self.now()
        if now >= self._beat_at:
            self._beat_at = now + housekeeping.BEAT
            with connected():
                housekeeping.beat(
                    self._own, sum(thread.is_alive() for thread in self._threads), now
                )
        if now >= self._tidy_at:
            self._tidy_at = now + 3600
            with connected():
                housekeeping.sweep(now, self.config["AUDIT_DAYS"])
        if now >= self._tell_at:
            self._tell_at = now + 86400
            with connected():
                old = housekeeping.roster_is_old(now, days := self.config["ROSTER_DAYS"])
            if old:
                log.warning(
                    "No roster was imported in the last %d days (KAKUNIN_ROSTER_DAYS): who left is still shown. "
                    "Import the present one with flask roster import.",
                    days,
                )

    def drain(self, transport: Transport) -> None:
        """Send everything that is due."""
        while self._send_next(transport):
            pass

    def _send_next(self, transport: Transport) -> bool:
        """Send the next mail that is due and return whether there was one. Hold no database
        connection while sending.

        Notices of an import come last. They are paced, and few threads send them at a time.
        """
        with connected():
            mail = self._take()
        if mail is not None:
            self._deliver(mail, transport)
        elif self._notices.acquire(blocking=False):
            try:
                with connected():
                    mail = self._take_notice()
                if mail is not None:
                    self._deliver(mail, transport)
            finally:
                self._notices.release()
        return mail is not None

    def _take(self) -> Mail | None:
        """Return the next mail that is due and no notice, which is this thread's own for LEASE
        seconds from now on.

        Mails of a challenge go first: people wait for their codes. Who is told that an address is
        taken must not show by being served later, so it is not the kind that counts.
        """
        return self._first(self._due("waiting").order_by(Mail.challenge.is_null(), Mail.due_at))

    def _take_notice(self) -> Mail | None:
        """Return the next notice that is due if the pace allows one more now."""
        due, pace = self._due("paced").order_by(Mail.due_at), self.config["MAILS_PER_MINUTE"]
        return (
            self._first(due) if due.exists() and housekeeping.may_send(self.now(), pace) else None
        )

    def _due(self, state: str) -> Any:
        """Return a query for the mails in that state that are due."""
        moment = int(self.now())
        late = Case(None, [(Mail.challenge.is_null(), AHEAD[1])], AHEAD[0])
        due = (Mail.due_at <= moment) | (Mail.due_at > late + moment)
        return Mail.select().where(Mail.state == state, due)

    def _first(self, due: Any) -> Mail | None:
        """Take the first mail of the query that no other thread takes, for LEASE seconds."""
        # on SQLite a query that is open would keep the update waiting
        for mail in list(due.limit(WORKERS)):
            mine = Mail.id == mail.id, Mail.due_at == mail.due_at, Mail.state == mail.state
            if Mail.update(due_at=int(self.now()) + LEASE).where(*mine).execute():
                return mail
        return None

    def _deliver(self, mail: Mail, transport: Transport) -> None:
        """Send a mail and store the outcome.

        After a temporary refusal by the mail server, or a failure of the network, the mail is tried
        again. After any error of the mail itself it has failed for good. Errors are logged by type
        or code alone, since their messages may contain an address. Raise only errors of the
        database, i.e. PeeweeException or one of AWAY. The mail is then sent again after LEASE
        seconds.
        """
        try:
            with connected():
                message = self.message(mail)
            if message is not None:
                transport.send(message)
            outcome = "sent"
        except (PeeweeException, MaxConnectionsExceeded):
            raise
        except (
            smtplib.SMTPRecipientsRefused,
            smtplib.SMTPSenderRefused,
            smtplib.SMTPDataError,
        ) as error:
            codes = (
                [c for c, _ in error.recipients.values()]
                if hasattr(error, "recipients")
                else [error.smtp_code]
            )
            outcome = "failed" if min(codes) >= 500 else "waiting"
            log.warning("mail %d (%s) refused: %s", mail.id, mail.kind, codes)
        except (OSError, smtplib.SMTPException) as error:
            outcome = "waiting"
            log.warning("mail %d (%s) not sent: %s", mail.id, mail.kind, type(error).__name__)
        except Exception as error:
            outcome = "failed"
            log.error("mail %d (%s) cannot be sent: %s", mail.id, mail.kind, type(error).__name__)
        with connected():
            self._note(mail, outcome)

    def _note(self, mail: Mail, outcome: str) -> None:
        """Store the outcome of a try: `sent`, `failed`, or `waiting` for the next try. After the
        last try, `waiting` is `failed`."""
        due, kept = mail.due_at, ""
        pauses = LATER if mail.challenge_id is None else RETRIES
        if outcome == "waiting" and mail.attempts < len(pauses):
            due, kept = int(self.now()) + pauses[mail.attempts], mail.address
            outcome = mail.state
        elif outcome == "waiting":
            outcome = "failed"
        Mail.update(state=outcome, due_at=due, attempts=mail.attempts + 1, address=kept).where(
            Mail.id == mail.id
        ).execute()

    def message(self, mail: Mail) -> EmailMessage | None:
        """Return the message to send, or None if it has become pointless, e.g. since its code is
        void or its account deleted."""
        account = (
            Account.select(Account, Member)
            .join(Member)
            .where(Account.member == mail.account_id)
            .first()
        )
        member = account.member if account else None
        values: dict[str, Any] = {
            "insurer": insurer_of(self.config, member),
            "minutes": CODE_LIFE // 60,
        }
        if mail.kind == "nothing" or account is None:
            return None
        challenge = None
        if mail.kind in ("code", "taken"):
            challenge = Challenge.get_or_none(Challenge.id == mail.challenge_id)
            if (
                challenge is None
                or challenge.used_at is not None
                or challenge.created_at <= self.now() - CODE_LIFE
            ):
                return None
            values["code"] = self.keys.code(challenge)
        if not _belongs(mail, account, challenge):
            return None
        if mail.kind in NOTICES and not _still_so(mail, account.member, dates.today(self.now())):
            return None
        if mail.kind == "registered":
            values["login_id"] = grouped(account.login_id)
        if mail.kind == "reset":
            values["link"] = (
                f"{self.config['BASE_URL'].rstrip('/')}/password/reset/{accounts.reset_token(account, self.keys)}"
            )
        return self.compose(f"mail/{mail.kind}.txt", mail.address, values)

    def compose(self, template: str, to: str, values: dict[str, Any]) -> EmailMessage:
        subject, _, body = self.render(template, values).strip().partition("\n")
        sender, domain = self.config["MAIL_FROM"], self.config["MAIL_FROM"].rpartition("@")[2]
        message = EmailMessage()
        message["Subject"] = subject.removeprefix("Subject:").strip()
        message["From"] = Address(values["insurer"].get("name", ""), addr_spec=sender)
        message["To"] = to
        message["Date"] = email.utils.formatdate(self.now(), localtime=False)
        letters = secrets.token_hex(16).translate(str.maketrans("0123456789", "ghijklmnop"))
        # no digits: the code is the only run of six
        message["Message-ID"] = f"<{letters}@{domain}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(body.strip() + "\n", cte="quoted-printable")
        return message


def _belongs(mail: Mail, account: Account, challenge: Challenge | None) -> bool:
    """Return whether the address still belongs to the person that this kind of mail is for."""
    if mail.kind == "email_changed":
        return True  # told at the old address
    if mail.kind == "taken":
        return accounts.email_owner(mail.address, account) is not None
    new = challenge.email if challenge else None
    return accounts.email_key(mail.address) == (
        accounts.email_key(new) if new else account.email_key
    )


def _still_so(mail: Mail, member: Member, day: dt.date) -> bool:
    """Return whether what a notice tells of is still so: another import may have come since."""
    states = {models.WEB: ("valid", "not_yet"), models.PAPER: ("paper",)}
    return not member.withheld and member.state_on(day) in states[NOTICES[mail.kind]]


def send_test(config: dict[str, Any], address: str) -> None:
    """Send one test mail at once, to check the settings. Raise OSError or smtplib.SMTPException if
    that fails."""
    transport = Transport(config["MAIL_URL"], config["MAIL_FROM"])
    mailer = Mailer(
        config,
        None,
        lambda _template, _values: (
            "Kakunin\n\nこのメールが届けば、メールの設定は正しくできています。"
        ),
        time.time,
    )
    try:
        transport.send(mailer.compose("", address, {"insurer": insurer_of(config, None)}))
    finally:
        transport.close()


def greet(config: dict[str, Any]) -> None:
    """Connect to the mail server and log in, and send nothing. Raise OSError or
    smtplib.SMTPException if that fails."""
    transport = Transport(config["MAIL_URL"], config["MAIL_FROM"])
    try:
        transport.connect()
    finally:
        transport.close()

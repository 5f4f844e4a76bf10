"""First uses that many tests begin with. The first test that needs one fills in its forms. What it
leaves is kept and copied for the others, as long as nothing else has been written before it. This
works on SQLite alone, whose databases are files."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from database import database
from tests.support.phone import Page, Phone


class Done(NamedTuple):
    """What a first use leaves: the number of the database, the mails, the page and the cookies."""

    number: int
    mails: list[Any]
    page: Page
    cookies: dict[Any, Any]


class FirstUses:
    """The first uses of a run. `databases` are copies of the databases that they leave; the first
    is the one in which nobody has registered yet."""

    def __init__(self, imported: str, folder: Path) -> None:
        self.folder, self.databases = folder, [Path(imported.removeprefix("sqlite:///"))]
        self.done: dict[tuple[int, Any], Done] = {}

    def repeat(self, phone: Phone, mails: list[Any], who: Any, use: Callable[[], Any]) -> None:
        """Let `use` complete the first use of `who` on the phone, or do as if it had."""
        before, sent = self._present(), len(mails)
        if before is None:
            use()
        elif done := self.done.get((before, who)):
            database.close_all()
            shutil.copy(self.databases[done.number], database.database)
            mails += done.mails
            phone.page = done.page
            phone.client._cookies |= done.cookies
        else:
            use()
            database.close_all()
            self.databases.append(self.folder / str(len(self.databases)))
            shutil.copy(database.database, self.databases[-1])
            self.done[before, who] = Done(
                len(self.databases) - 1, mails[sent:], phone.page, dict(phone.client._cookies)
            )

    def _present(self) -> int | None:
        """Return which of the kept databases the present one is equal to, or None."""
        log = Path(f"{database.database}-wal")
        if log.exists() and log.stat().st_size:
            return None
        equal = (
            number
            for number, kept in enumerate(self.databases)
            if filecmp.cmp(kept, database.database, shallow=False)
        )
        return next(equal, None)

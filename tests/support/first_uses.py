"""First uses that many tests begin with. The first test of a run types them; what they left is kept,
and copied for the others. On SQLite alone, where a database is a file."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from database import database
from tests.support.phone import Phone


class FirstUses:
    """What each row of first uses left: a database, mails, a page and cookies. `folder` holds the
    databases."""

    def __init__(self, imported: str, folder: Path) -> None:
        self.folder = folder
        self.states = [Path(imported.removeprefix("sqlite:///"))]
        self.after: dict[tuple[int, Any], tuple[int, list[Any], Any, Any]] = {}

    def copy_or_keep(
        self, phone: Phone, mails: list[Any], what: Any, use: Callable[[], Phone]
    ) -> Phone:
        """Return the phone after `use`, or the copy of one after the same."""
        before = self._state()
        if before is None:
            return use()
        sent = len(mails)
        if (before, what) not in self.after:
            use()
            database.close_all()
            self.states.append(self.folder / str(len(self.states)))
            shutil.copy(database.database, self.states[-1])
            kept = mails[sent:], phone.page, dict(phone.client._cookies)
            self.after[before, what] = len(self.states) - 1, *kept
            return phone
        state, added, phone.page, cookies = self.after[before, what]
        database.close_all()
        shutil.copy(self.states[state], database.database)
        mails += added
        phone.client._cookies.update(cookies)
        return phone

    def _state(self) -> int | None:
        """Return the number of the kept state that the database is in, or None."""
        log = Path(f"{database.database}-wal")
        if log.exists() and log.stat().st_size:
            return None
        for number, state in enumerate(self.states):
            if filecmp.cmp(state, database.database, shallow=False):
                return number
        return None

"""A crowd of phones in one thread. Each polls its clock once a second over its own connection.

Like htmx with `hx-sync="this:drop"`, a phone sends no request while it waits for an answer. A
second in which it could not send one, or got no live answer, is a missed tick. Phones keep the
lease cookies that answers set, as browsers do.
"""

from __future__ import annotations

import contextlib
import gc
import resource
import select
import socket
import ssl
import threading
import time
from array import array
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tests.support.ready import path_of

REQUEST = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)\r\n"
    "Accept: */*\r\nAccept-Language: ja\r\nHX-Request: true\r\nSec-Fetch-Site: same-origin\r\nCookie: {cookies}\r\n\r\n"
)


@dataclass
class Phone:
    """An open certificate, with the path of its clock and the session cookie."""

    path: str
    session: str
    lease: str = ""
    link: Any = None
    asked: float = 0.0
    lived: float = 0.0  # when the last live fragment came
    request: bytes = b""
    answer: bytes = b""


@dataclass
class Outcome:
    """The results of a crowd. Latencies are in seconds from the moment at which a poll was due, so
    that delays of the generator count too.
    """

    phones: int
    seconds: float
    latencies: array[float] = field(default_factory=lambda: array("d"))
    misses: list[int] = field(default_factory=list)  # in each second, as are the renewals
    renewals: list[int] = field(default_factory=list)
    cpu: float = 0.0
    longest_gap: float = 0.0  # seconds that one phone had no live fragment
    veiled: set[str] = field(default_factory=set)  # the phones that had none for VEIL seconds

    @property
    def missed(self) -> int:
        return sum(self.misses)

    @property
    def renewed(self) -> int:
        return sum(self.renewals)

    def percentile(self, share: float) -> float:
        """Return the latency, in milliseconds, that `share` (0 to 1) of the polls do not exceed."""
        ordered = sorted(self.latencies)
        return (
            ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000
            if ordered
            else float("inf")
        )


VEIL = 5
"""Seconds without a live fragment after which the veil covers the card."""


def hold(
    port: int,
    phones: list[Phone],
    seconds: int,
    settle: int = 0,
    *,
    tls: bool = False,
    arrive: float = 0,
) -> Outcome:
    """Hold `phones` live for `seconds` seconds, with their polls spread evenly over each second.

    Latencies of the first `settle` seconds, in which all phones get their first lease, do not
    count. Missed ticks do. The phones connect before the first second, or one by one within
    `arrive` seconds. They then poll from their next turn on.
    """
    path_of("Linux")
    poller = select.epoll()
    by_number = {}
    arrived: deque[Phone] = deque()
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE

    def connect(phone: Phone) -> None:
        link = socket.create_connection(("127.0.0.1", port))
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        phone.link = trusting.wrap_socket(link) if tls else link
        phone.link.setblocking(False)

    def listen(phone: Phone) -> None:
        poller.register(phone.link, select.EPOLLIN)
        by_number[phone.link.fileno()] = phone

    def come() -> None:
        for number, phone in enumerate(phones):
            time.sleep(max(0, began + number / count * arrive - time.perf_counter()))
            connect(phone)
            arrived.append(phone)

    count = len(phones)
    outcome = Outcome(count, seconds, misses=[0] * (seconds + 5), renewals=[0] * (seconds + 5))
    for phone in phones:
        _prepare(phone, port)
        if not arrive:
            connect(phone)
            listen(phone)
    gc.collect()
    gc.disable()
    began, spent = time.perf_counter() + 0.2, resource.getrusage(resource.RUSAGE_SELF)
    gap = 1.0 / count
    coming = threading.Thread(target=come)
    if arrive:
        coming.start()
    turn, at, waiting = 0, 0, 0
    end = began + seconds
    while True:
        now = time.perf_counter()
        if now > end + 3 or (turn >= seconds and not waiting):
            break
        while turn < seconds and now >= (due := began + turn + at * gap):
            phone = phones[at]
            if phone.asked:
                outcome.misses[turn] += 1
            elif phone.link:
                phone.asked = due
                waiting += 1
                with contextlib.suppress(OSError):  # it is broken: the poller will say so
                    phone.link.send(phone.request)
            at += 1
            if at == count:
                turn, at = turn + 1, 0
        while arrived:
            listen(newcomer := arrived.popleft())
            newcomer.lived = now
        due = began + turn + at * gap if turn < seconds else now + 0.05
        for number, _ in poller.poll(max(0.0, min(due - now, 0.05))):
            phone = by_number[number]
            try:
                came = phone.link.recv(65536)
                while tls and phone.link.pending():
                    came += phone.link.recv(65536)
            except (BlockingIOError, ssl.SSLWantReadError):
                continue
            except OSError:
                came = b""
            # broken: as a browser does, the phone makes another connection and asks again
            if not came:
                del by_number[number]
                phone.link.close()
                phone.answer = b""
                # nobody is there: this phone's ticks are missed from now on
                with contextlib.suppress(OSError):
                    connect(phone)
                    listen(phone)
                    if phone.asked:
                        phone.link.send(phone.request)
                continue
            phone.answer += came
            head, found, body = phone.answer.partition(b"\r\n\r\n")
            if not found or not phone.asked:
                continue
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
            if len(body) < length:
                continue
            if phone.asked >= began + settle:
                outcome.latencies.append(time.perf_counter() - phone.asked)
            phone.asked, phone.answer, waiting = 0.0, b"", waiting - 1
            if not head.startswith(b"HTTP/1.1 200") or b'class="live' not in body:
                outcome.misses[int(now - began)] += 1
            else:
                moment = time.perf_counter()
                _note_gap(outcome, phone, moment - (phone.lived or began))
                phone.lived = moment
            lease = head.partition(b"lease=")[2].split(b";", 1)[0].decode()
            if lease:
                phone.lease = lease
                outcome.renewals[int(now - began)] += 1
                _prepare(phone, port)
    used = resource.getrusage(resource.RUSAGE_SELF)
    outcome.cpu = (used.ru_utime + used.ru_stime - spent.ru_utime - spent.ru_stime) / seconds
    outcome.misses[seconds] += waiting
    gc.enable()
    if arrive:
        coming.join()
    for phone in phones:
        _note_gap(outcome, phone, end - (phone.lived or began))
        phone.link.close()
        phone.link, phone.asked, phone.lived, phone.answer = None, 0.0, 0.0, b""
    return outcome


def _note_gap(outcome: Outcome, phone: Phone, gap: float) -> None:
    outcome.longest_gap = max(outcome.longest_gap, gap)
    if gap > VEIL:
        outcome.veiled.add(phone.path)


def _prepare(phone: Phone, port: int) -> None:
    cookies = f"session={phone.session}" + (f"; lease={phone.lease}" if phone.lease else "")
    phone.request = REQUEST.format(path=phone.path, port=port, cookies=cookies).encode()

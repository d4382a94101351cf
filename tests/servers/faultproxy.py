"""An HTTP proxy that breaks what passes through it, on demand.

It stands between an S3 client and a real server and keeps the Host header, so signatures stay
valid. It runs in a thread of the test's own process::

    with FaultProxy("http://127.0.0.1:7480") as proxy:
        proxy.inject(Fault("truncate", method="GET", after_bytes=1000))
        ...  # talk to proxy.url
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import struct
from concurrent.futures import Future
from dataclasses import dataclass
from io import BytesIO
from threading import Thread
from typing import TYPE_CHECKING, Literal, Self

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Kind = Literal[
    "answer",  # the proxy answers by itself: `status` and `body`
    "corrupt",  # one byte of the answer's body is flipped, at `after_bytes`
    "corrupt_request",  # one byte of the request's body is flipped, at `after_bytes`
    "drop_response",  # the server does what it is asked, then the connection is reset
    "latency",  # the request waits for `delay_s`
    "reset",  # the connection is reset before the server is asked
    "reset_after",  # the connection is reset after `after_bytes` of the answer's body
    "stall",  # silence for `delay_s` after `after_bytes` of the answer's body
    "truncate",  # a clean end after `after_bytes` of the answer's body
]

_LAST_TURNS_S = 0.05
_HOP_BY_HOP = {"connection", "expect", "keep-alive", "te", "transfer-encoding", "upgrade"}
_NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_CODES = {409: "ConditionalRequestConflict", 501: "NotImplemented", 503: "SlowDown"}


@dataclass(frozen=True)
class Fault:
    """One rule; the first that fits a request and is not used up is applied.

    Attributes:
        kind: What happens.
        method: The method of the requests it fits; "*" for all.
        path: Regular expression that is searched for in the raw path and query.
        times: How often it happens; None for always.
        probability: How often it happens among the requests that fit.
        after_bytes: Where in a body.
        delay_s: How long.
        status: Status of an answer.
        body: Body of an answer; None for an S3 error document.
    """

    kind: Kind
    method: str = "*"
    path: str = ""
    times: int | None = 1
    probability: float = 1.0
    after_bytes: int = 0
    delay_s: float = 0.0
    status: int = 503
    body: bytes | None = None


@dataclass(frozen=True)
class SeenRequest:
    """One request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    client_port: int


class FaultProxy:
    """The proxy; a context manager that listens on a free port of this machine.

    Attributes:
        url: Where it listens.
        requests: All that arrived, in order.
    """

    def __init__(self, upstream: str, *, seed: int = 0) -> None:
        self.url = ""
        self.requests: list[SeenRequest] = []
        self._upstream = upstream
        self._random = random.Random(seed)  # noqa: S311 - chooses victims, guards no secret
        self._faults: list[Fault] = []
        self._hits: list[int] = []
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = Thread(target=self._run, name="fault-proxy")
        self._ready: Future[str] = Future()

    def inject(self, *faults: Fault) -> None:
        """Replace all rules, as if none had ever been applied."""

        async def replace() -> None:
            self._faults, self._hits = list(faults), [0] * len(faults)

        asyncio.run_coroutine_threadsafe(replace(), self._loop).result()

    def __enter__(self) -> Self:
        self._thread.start()
        self.url = self._ready.result()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
            # Connections that were closed last are let go of in one of the loop's next turns: as
            # soon as what they had yet to send is on its way.
            self._loop.run_until_complete(asyncio.sleep(_LAST_TURNS_S))
        except Exception as error:
            self._ready.set_exception(error)
            raise

    async def _serve(self) -> None:
        app = web.Application(client_max_size=2**31)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        async with ClientSession(
            auto_decompress=False,
            connector=TCPConnector(limit=0),
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(total=None),
        ) as self._session:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self._ready.set_result(f"http://127.0.0.1:{runner.addresses[0][1]}")
            await self._stop.wait()
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self._record(request)
        fault = self._pick(request)
        if fault.kind == "latency":
            await asyncio.sleep(fault.delay_s)
        if fault.kind == "reset":
            return _reset(request)
        if fault.kind == "answer":
            return _answer(fault)
        if fault.kind == "corrupt_request":
            body = _flipped(body, fault.after_bytes)
        async with self._session.request(
            request.method,
            URL(self._upstream + request.raw_path, encoded=True),
            headers=_end_to_end(request.headers.items()),
            data=BytesIO(body) if body else None,
            allow_redirects=False,
            skip_auto_headers=_NOT_ADDED,
        ) as answer:
            payload = await answer.read()
        if fault.kind == "drop_response":
            return _reset(request)
        if fault.kind == "corrupt":
            payload = _flipped(payload, fault.after_bytes)
        response = web.StreamResponse(
            status=answer.status,
            reason=answer.reason,
            headers=_end_to_end(answer.headers.items()),
        )
        await response.prepare(request)
        if fault.kind in ("reset_after", "stall", "truncate"):
            await response.write(payload[: fault.after_bytes])
            return await _broken_off(request, response, fault)
        await response.write(payload)
        await response.write_eof()
        return response

    def _record(self, request: web.Request) -> None:
        port = request.transport.get_extra_info("peername")[1] if request.transport else 0
        seen = SeenRequest(request.method, request.raw_path, request.headers.copy(), port)
        self.requests.append(seen)

    def _pick(self, request: web.Request) -> Fault:
        for number, fault in enumerate(self._faults):
            fits = fault.method in ("*", request.method) and re.search(fault.path, request.raw_path)
            used_up = fault.times is not None and self._hits[number] >= fault.times
            if fits and not used_up and self._random.random() < fault.probability:
                self._hits[number] += 1
                return fault
        return Fault("latency")


def _end_to_end(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in _HOP_BY_HOP]


def _flipped(body: bytes, at: int) -> bytes:
    return body[:at] + bytes([body[at] ^ 0xFF]) + body[at + 1 :]


def _answer(fault: Fault) -> web.Response:
    code = _CODES.get(fault.status, "InternalError")
    document = f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
    return web.Response(
        status=fault.status,
        body=document if fault.body is None else fault.body,
        content_type="application/xml",
    )


def _reset(request: web.Request) -> web.StreamResponse:
    """End the connection with RST; what is returned goes nowhere."""
    if request.transport is not None:
        raw = request.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()


async def _broken_off(
    request: web.Request, response: web.StreamResponse, fault: Fault
) -> web.StreamResponse:
    if fault.kind == "truncate":
        if request.transport is not None:
            request.transport.close()
        return response
    # A reset discards what the receiver has not read yet: let the first bytes arrive.
    await asyncio.sleep(fault.delay_s if fault.kind == "stall" else 0.05)
    return _reset(request)

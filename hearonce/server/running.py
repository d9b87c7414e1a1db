"""uvicorn with bounds: on connections, and on how long a client may make the server wait."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import sys
from contextlib import suppress
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 256
KEEP_ALIVE_S = 15
HEADERS_S = 15.0
"""In which the lines of a request must have arrived."""

STALLED_S = 120.0
"""That a client may take nothing of an answer; browsers ask anew for the rest of a medium that was paused."""

HEADER_BYTES = 32 << 10
SHUTDOWN_S = 3

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Of glibc's `malloc.h`."""

SWITCH_S = 0.0005
"""After which a thread that computes in Python lets another go on: a search leaves and enters Python per block."""


class Impatient(H11Protocol):
    """HTTP/1.1 that closes connections on which the client is slow."""

    _slow: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for the first request."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Goes on waiting while the lines of a request are incomplete."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops waiting."""
        for timer in (self._slow, self._stalled):
            if timer is not None:
                timer.cancel()
        self._slow = self._stalled = None
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not take what is sent."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _watch(self) -> None:
        waiting = self.conn.their_state is h11.IDLE
        if not waiting and self._slow is not None:
            self._slow.cancel()
            self._slow = None
        elif waiting and self._slow is None:
            self._slow = self.loop.call_later(HEADERS_S, self._close_idle)

    def _close_idle(self) -> None:
        self._slow = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()


def configured(app: Any) -> uvicorn.Config:
    """uvicorn's settings for the search server."""
    return uvicorn.Config(
        app,
        http=Impatient,
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_S,
        h11_max_incomplete_event_size=HEADER_BYTES,
    )


def run(app: Any, listening: socket.socket) -> None:
    """Serves until a signal."""
    sys.setswitchinterval(SWITCH_S)
    _return_memory()
    uvicorn.Server(configured(app)).run([listening])


def _return_memory() -> None:
    """Has glibc give memory back that arrays of a query took, instead of keeping some for each thread."""
    with suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_ARENA_MAX, 4)
        mallopt(M_MMAP_THRESHOLD, 1 << 20)
        mallopt(M_TRIM_THRESHOLD, 8 << 20)

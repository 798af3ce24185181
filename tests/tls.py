"""TLS in front of a server of the tests: the wheels' PostgreSQL and Redis were built without it.

It speaks to clients as such a server does. Redis is encrypted from the first byte on; a client of PostgreSQL
asks in clear first. What follows is passed on as it comes.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

SSL_REQUEST = bytes.fromhex("0000000804d2162f")
"""How a client of PostgreSQL asks for TLS."""
PASSED_ON = 1 << 16


@contextmanager
def tls_before(port: int, context: ssl.SSLContext, kind: Literal["postgres", "redis"]) -> Iterator[int]:
    """A port on which TLS is spoken, in front of the server at *port*, until the block ends."""
    front = _Front(port, context, kind)
    thread = threading.Thread(target=front.serve, name="tls")
    thread.start()
    try:
        front.ready.wait()
        yield front.port
    finally:
        front.stop()
        thread.join()


class _Front:
    def __init__(self, behind: int, context: ssl.SSLContext, kind: str) -> None:
        self.port = 0
        self.ready = threading.Event()
        self._behind = behind
        self._context = context
        self._asks_first = kind == "postgres"
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._clients: set[asyncio.Task[None]] = set()

    def serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)

    async def _serve(self) -> None:
        ours = None if self._asks_first else self._context
        server = await asyncio.start_server(self._client, "127.0.0.1", 0, ssl=ours)
        self.port = server.sockets[0].getsockname()[1]
        self.ready.set()
        await self._end.wait()
        server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        opened = [writer]
        try:
            if self._asks_first:
                assert await reader.readexactly(len(SSL_REQUEST)) == SSL_REQUEST
                writer.write(b"S")
                await writer.start_tls(self._context)
            there, to_there = await asyncio.open_connection("127.0.0.1", self._behind)
            opened.append(to_there)
            ways = {
                asyncio.ensure_future(_pass_on(reader, to_there)),
                asyncio.ensure_future(_pass_on(there, writer)),
            }
            _, left = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in left:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.IncompleteReadError):
            pass  # a client that does not trust us hangs up: that is what some tests want
        finally:
            for end in opened:
                end.transport.abort()
            self._clients.discard(task)


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(PASSED_ON):
        target.write(data)
        await target.drain()

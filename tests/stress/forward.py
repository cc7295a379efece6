"""Forward connections between a port of a network namespace and a socket file, which all namespaces see.

``python -m tests.stress.forward tcp:5432 unix:/tmp/socket`` listens on the first and connects to the second.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _connect(place: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    kind, _, where = place.partition(":")
    if kind == "unix":
        return await asyncio.open_unix_connection(where)
    return await asyncio.open_connection("127.0.0.1", int(where))


async def forward(source: str, target: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await _connect(target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, back), _copy(there, writer))

    kind, _, where = source.partition(":")
    if kind == "unix":
        server = await asyncio.start_unix_server(serve, where)
    else:
        server = await asyncio.start_server(serve, "127.0.0.1", int(where))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(forward(*sys.argv[1:]))

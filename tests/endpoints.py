"""A server with a port for each kind of answer. ``python -m tests.endpoints`` prints the ports as JSON."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tests.fake_browser import SAVED

HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
Answer = Callable[[asyncio.StreamWriter, int], Coroutine[Any, Any, None]]


async def _alive(writer: asyncio.StreamWriter, port: int) -> None:
    url = f"ws://127.0.0.1:{port}/devtools/browser/{SAVED}"
    writer.write(HEAD + json.dumps({"webSocketDebuggerUrl": url}).encode())


async def _junk(writer: asyncio.StreamWriter, port: int) -> None:
    writer.write(HEAD + b"\xff\x00 this is not JSON")


async def _hang(writer: asyncio.StreamWriter, port: int) -> None:
    await asyncio.sleep(60)


async def _stream(writer: asyncio.StreamWriter, port: int) -> None:
    writer.write(HEAD)
    while True:
        writer.write(b" " * 65_536)
        await writer.drain()


ANSWERS: dict[str, Answer] = {"alive": _alive, "junk": _junk, "hang": _hang, "stream": _stream}


async def _serve(answer: Answer) -> asyncio.Server:
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await answer(writer, writer.get_extra_info("sockname")[1])
            await writer.drain()
        writer.close()

    return await asyncio.start_server(reply, "127.0.0.1", 0, backlog=1_000)


async def _main() -> None:
    servers = {name: await _serve(answer) for name, answer in ANSWERS.items()}
    print(
        json.dumps({name: server.sockets[0].getsockname()[1] for name, server in servers.items()}), flush=True
    )
    await asyncio.gather(*(server.serve_forever() for server in servers.values()))


@contextmanager
def served() -> Iterator[dict[str, int]]:
    """Yield the port for each kind of answer, and as ``refuse`` a port on which nothing listens."""
    process = subprocess.Popen([sys.executable, "-m", "tests.endpoints"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield {**json.loads(process.stdout.readline()), "refuse": 1}
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    asyncio.run(_main())

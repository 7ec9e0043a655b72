"""Requests that are too large are turned away before they fill the memory."""

import asyncio
from collections.abc import AsyncIterator

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from sojourn.federated.flower.limit import LimitedBody

MOST = 1000


def post(content: bytes | AsyncIterator[bytes], **headers: str) -> httpx.Response:
    """The answer of an application that tells how long a body is."""

    async def length(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    limited = Middleware(LimitedBody, most_bytes=MOST)
    app = Starlette(routes=[Route("/", length, methods=["POST"])], middleware=[limited])

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            return await client.post("/", content=content, headers=headers)

    return asyncio.run(send())


async def in_pieces(number: int) -> AsyncIterator[bytes]:
    """A body whose length is not announced."""
    for _ in range(number):
        yield b"x" * 100


def test_small_requests_pass() -> None:
    assert post(b"x" * MOST).text == str(MOST)
    assert post(in_pieces(10)).text == str(MOST)


def test_large_ones_do_not_announced_or_not() -> None:
    assert post(b"x" * (MOST + 1)).status_code == 413
    assert post(in_pieces(11)).status_code == 413
    assert post(b"x", **{"content-length": "-5"}).status_code == 413

"""Requests whose body is too large are turned away before it is read into memory."""

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class _TooLargeError(Exception):
    """More came than a request may have."""


class LimitedBody:
    """ASGI middleware that answers 413 to a request with more than `most_bytes`, announced or not."""

    def __init__(self, app: ASGIApp, *, most_bytes: int) -> None:
        self.app, self.most_bytes = app, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count what comes of it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        read, has_begun = 0, False

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.most_bytes:
                raise _TooLargeError
            return message

        async def noticed(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            if not announced.isdigit() or int(announced) > self.most_bytes:
                raise _TooLargeError
            await self.app(scope, counted, noticed)
        except _TooLargeError:
            if not has_begun:
                await PlainTextResponse("too large", status_code=413)(scope, receive, send)

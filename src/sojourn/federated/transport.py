"""How messages reach the sites: one small interface, whatever carries them."""

from collections.abc import Iterator, Mapping
from typing import Protocol

from sojourn.errors import SojournError, UpdateRefusedError
from sojourn.federated.messages import Message, Refusal


class Answering(Protocol):
    """A site, seen from outside."""

    name: str

    def answer(self, message: Message) -> Message:
        """The answer to a request; raises `SojournError` where the site refuses."""
        ...


class Transport(Protocol):
    """Carries requests to sites and their answers back."""

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites that can be asked, sorted."""
        ...

    def ask(self, requests: Mapping[str, Message], *, timeout_s: float) -> Iterator[tuple[str, Message | Refusal]]:
        """Ask several sites; each answers once, in any order, or is refused with a reason."""
        ...


def answer_of(site: Answering, message: Message) -> Message | Refusal:
    """The site's answer, or why it refuses; other errors than its own are raised."""
    try:
        return site.answer(message)
    except UpdateRefusedError as error:
        return Refusal(error.reason, str(error))
    except SojournError as error:
        return Refusal("site_error", f"{type(error).__name__}: {error}")


class InProcess:
    """All sites in this process, one after the other: for research, and for tests of everything but the network.

    Parameters
    ----------
    sites : the sites.

    Attributes
    ----------
    bytes_sent, bytes_received : int
        Size of the arrays that a network would have carried.
    """

    def __init__(self, sites: Mapping[str, Answering]) -> None:
        self._sites = dict(sorted(sites.items()))
        self.bytes_sent = self.bytes_received = 0

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites."""
        return tuple(self._sites)

    def ask(self, requests: Mapping[str, Message], *, timeout_s: float) -> Iterator[tuple[str, Message | Refusal]]:
        """Answers in the order of the names; `timeout_s` has no meaning without a network."""
        for name in sorted(requests):
            self.bytes_sent += requests[name].num_bytes
            answer = answer_of(self._sites[name], requests[name])
            if isinstance(answer, Message):
                self.bytes_received += answer.num_bytes
            yield name, answer

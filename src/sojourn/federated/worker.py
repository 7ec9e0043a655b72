"""A process that answers for some sites of a store: ``python -m sojourn.federated.worker``, started by `Processes`.

Frames come in pairs, the name of a site and a message; each is answered by one frame.
"""

import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from sojourn.events.store import EventStore
from sojourn.federated.messages import Message, Refusal, pack, unpack
from sojourn.federated.site import Site
from sojourn.federated.transport import answer_of

REFUSED = "refused"
"""Kind of the frame that answers for a site that refused, with `reason` and `detail`."""


def serve(connection: Connection, sites: dict[str, Site]) -> None:
    """Answer until the other end is closed."""
    while True:
        try:
            name, content = connection.recv_bytes().decode(), connection.recv_bytes()
            answer = answer_of(sites[name], unpack(content))
            connection.send_bytes(
                pack(Message(REFUSED, texts=answer._asdict()) if isinstance(answer, Refusal) else answer)
            )
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def main() -> None:
    """Serve the sites that are named: descriptor of the connection, store, private folder, sites."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever asks; their end of the connection closes then
    descriptor, store, private, *names = sys.argv[1:]
    opened = EventStore.open(Path(store))
    with Connection(int(descriptor)) as connection:
        serve(connection, {name: Site(name, opened, Path(private) / name) for name in names})


if __name__ == "__main__":
    main()

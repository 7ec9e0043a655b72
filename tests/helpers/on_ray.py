"""Runs on a Ray of its own, for tests: in a process apart, since Ray leaves sockets and children to the process's end.

python -m helpers.on_ray build STORE DATASET     builds with `deriving.fatal_once`
python -m helpers.on_ray listen                  prints the addresses on which Ray waits for connections
"""

import sys
from ipaddress import ip_address
from pathlib import Path

from helpers.deriving import fatal_once
from sojourn.events import plan
from sojourn.events.build import build_store
from sojourn.events.fan_out import connected

SMALL_PIECE = 400


def listening() -> set[str]:
    """Addresses on which processes of Ray on this machine wait for connections, from Linux's tables."""
    owned = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"ray" in (folder / "cmdline").read_bytes():
                owned |= {str(link.readlink()) for link in (folder / "fd").iterdir()}
        except OSError:  # a process that has ended, or of someone else
            continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in (Path("/proc/net") / table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in owned:
                # Words of 32 bits, the lowest byte first.
                raw = bytes.fromhex(fields[1].rpartition(":")[0])
                address = ip_address(b"".join(raw[k : k + 4][::-1] for k in range(0, len(raw), 4)))
                found.add(str(getattr(address, "ipv4_mapped", None) or address))
    return found


def main() -> None:
    """Do what the arguments say."""
    if sys.argv[1] == "build":
        plan.PIECE_ROWS = SMALL_PIECE
        build_store(Path(sys.argv[2]), [Path(sys.argv[3])], derive=fatal_once, workers=3, cluster="ray")
    else:
        with connected("", 1) as ray:
            print(ray.util.get_node_ip_address(), *listening())


if __name__ == "__main__":
    main()

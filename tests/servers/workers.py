"""Several workers of a live server, seen from outside: who they are, who has which connection."""

from pathlib import Path

from harness.live_server import LiveServer
from harness.process_tree import find_tree

TWO_WORKERS = "[workers]\ncount = 2\n"
_ESTABLISHED = "01"


def pids_of(server: LiveServer) -> set[int]:
    """The processes of the workers."""
    return set(find_tree(server.process.pid)[1:])


def connections_of(pid: int, port: int) -> set[int]:
    """The clients' ports of the connections that a process has accepted on a port of its own."""
    clients = {}
    tables = [Path(f"/proc/{pid}/net/{name}").read_text() for name in ("tcp", "tcp6")]
    for line in (line for table in tables for line in table.splitlines()[1:]):
        fields = line.split()
        (_, ours), (_, theirs) = (field.split(":") for field in fields[1:3])
        if int(ours, 16) == port and fields[3] == _ESTABLISHED:
            clients[f"socket:[{fields[9]}]"] = int(theirs, 16)
    held = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
    return {client for socket, client in clients.items() if socket in held}


def counts_of(server: LiveServer) -> dict[str, float]:
    """Every sample of counters and histograms."""
    counts: dict[str, float] = {}
    for line in server.get("/metrics").decode().splitlines():
        if line.startswith("# TYPE "):
            never_falls = line.endswith((" counter", " histogram"))
        elif not line.startswith("#") and never_falls:
            key, _, value = line.rpartition(" ")
            counts[key] = float(value)
    return counts

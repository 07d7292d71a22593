"""A real haproxy for trials and tests: one HTTP endpoint in front of several servers."""

import socket
from collections.abc import Sequence
from typing import Literal

from harness.child_process import ChildProcess, find_program
from harness.servers import find_free_port

Balance = Literal["leastconn", "roundrobin"]

# A request goes to any server: with http-reuse always, connections to servers are shared.
_CONFIG = """\
global
  maxconn 4096
defaults
  mode http
  balance {balance}
  http-reuse always
  retries 1
  option redispatch
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend public
  bind 127.0.0.1:{port}
  default_backend pods
backend pods
{servers}
"""


class HaproxyServer(ChildProcess):
    """`with HaproxyServer([3000, 3010]) as proxy:`; the ports are of servers on 127.0.0.1. Raises
    FileNotFoundError with a sentence where none is installed.
    """

    def __init__(self, ports: Sequence[int], balance: Balance = "leastconn") -> None:
        program = find_program("haproxy", "haproxy")
        super().__init__()
        self.port = find_free_port()
        servers = "\n".join(
            f"  server pod{number} 127.0.0.1:{port}" for number, port in enumerate(ports)
        )
        config = self.folder / "haproxy.cfg"
        config.write_text(_CONFIG.format(balance=balance, port=self.port, servers=servers))
        self.command = [program, "-db", "-f", str(config)]

    def has_started(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except OSError:
            return False
        return True

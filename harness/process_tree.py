"""CPU time and memory of a process with all its descendants, read from /proc.

CPU seconds stay comparable on a busy machine; requests per second do not. So servers are compared
by the CPU time of their whole process tree. Linux only. Children that ended count through the
parent that waited for them.
"""

import os
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def find_tree(pid: int) -> list[int]:
    """Return `pid` and every running descendant; empty if it has ended."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _read_stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    if not _read_stat(pid):
        return []
    tree = [pid]
    for member in tree:  # grows while it is walked
        tree.extend(children.get(member, ()))
    return tree


def read_cpu_s(pid: int) -> float:
    """User and system seconds so far of the tree, ended and awaited children included."""
    ticks = 0
    for member in find_tree(pid):
        if fields := _read_stat(member):
            ticks += sum(int(field) for field in fields[11:15])  # utime stime cutime cstime
    return ticks / _TICKS_PER_S


def read_resident_bytes(pid: int) -> int:
    """Resident memory of the tree; pages shared between its processes count once each."""
    total = 0
    for member in find_tree(pid):
        try:
            total += int((_PROC / str(member) / "statm").read_text().split()[1]) * _PAGE_BYTES
        except OSError:
            continue  # ended meanwhile
    return total


def _read_stat(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat after the name (which may contain spaces): state, ppid, ..."""
    try:
        raw = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return []
    return raw[raw.rindex(")") + 2 :].split()

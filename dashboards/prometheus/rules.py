"""Groups of recording rules and alerts, written as a YAML rules file.

The writer handles only the YAML that rules need, so it needs no library.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["page", "ticket"]
_PLAIN = re.compile(r"[A-Za-z_][\w:./-]*")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off"}  # YAML does not read these as strings


@dataclass(frozen=True, slots=True)
class Recording:
    """A query whose result is stored as a new series."""

    record: str
    expr: str


@dataclass(frozen=True, slots=True)
class Alert:
    """A query whose results become alerts after `for_duration`, a duration as Prometheus writes
    it.
    """

    alert: str
    expr: str
    for_duration: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


Rule = Recording | Alert


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated in order, so that a later one can use an earlier recording."""

    name: str
    interval: str
    rules: Sequence[Rule]


def write_rules(groups: Sequence[Group], heading: Sequence[str]) -> str:
    """Return the text of a rules file; the lines of `heading` become comments."""
    lines = [f"# {line}".rstrip() for line in heading]
    lines.append("groups:")
    for group in groups:
        lines += [f"  - name: {group.name}", f"    interval: {group.interval}", "    rules:"]
        for rule in group.rules:
            lines += _write_rule(rule)
    return "\n".join(lines) + "\n"


def _write_rule(rule: Rule) -> Iterator[str]:
    if isinstance(rule, Recording):
        yield f"      - record: {rule.record}"
        yield from _write_value("expr", rule.expr)
        return
    yield f"      - alert: {rule.alert}"
    yield from _write_value("expr", rule.expr)
    yield f"        for: {rule.for_duration}"
    for key, values in (("labels", rule.labels), ("annotations", rule.annotations)):
        yield f"        {key}:"
        for name, value in values.items():
            yield from _write_value(name, value, indent=10)


def _write_value(name: str, value: str, indent: int = 8) -> Iterator[str]:
    """Write a plain scalar if YAML reads it back as this text, else quoted; lines as a block."""
    space = " " * indent
    if "\n" in value:
        yield f"{space}{name}: |-"
        yield from (f"{space}  {line}" for line in value.splitlines())
    elif _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        yield f"{space}{name}: {value}"
    else:
        doubled = value.replace("'", "''")
        yield f"{space}{name}: '{doubled}'"

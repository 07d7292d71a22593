"""A record is one line of bounded length; a traceback after it cannot be taken for a record."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from monitoring.log_lines import JsonFormatter, LineFormatter, describe_error

ROOT = Path(__file__).parents[2]


def write(message: str, *args: object, error: BaseException | None = None) -> str:
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("sparing.x", logging.ERROR, "x.py", 1, message, args, info)
    return LineFormatter().format(record)


def test_a_name_cannot_forge_a_second_line() -> None:
    line = write("route refused: %s", "a\n2026-01-01 00:00:00,000 INFO sparing: \x1b[1mstopped")
    assert "\n" not in line
    assert "\x1b" not in line
    assert line.endswith("route refused: a\\n2026-01-01 00:00:00,000 INFO sparing: \\x1b[1mstopped")


def test_a_line_has_a_bounded_length() -> None:
    assert len(write("%s", "x" * 1_000_000)) < 2200


def test_a_process_among_several_says_its_number() -> None:
    record = logging.LogRecord("sparing", logging.INFO, "x.py", 1, "draining", (), None)
    assert LineFormatter(3).format(record).endswith(" INFO worker 3 sparing: draining")


def test_a_traceback_is_indented_bounded_and_names_its_causes() -> None:
    def fail(depth: int) -> None:
        if depth:
            fail(depth - 1)
        raise KeyError("first\n2026-01-01 INFO forged " + "x" * 10_000)

    try:
        try:
            fail(100)
        except KeyError as error:
            raise ValueError("second") from error
    except ValueError as error:
        text = write("failed", error=error)
    first, *others = text.splitlines()
    assert first.endswith("failed")
    assert all(line.startswith("  ") for line in others)
    assert others[-1] == "  ValueError: second"
    assert any(line.startswith("  KeyError: 'first\\n2026-01-01") for line in others)
    assert "test_log_lines.py" in text
    assert len(text) < 10_000


def test_an_exception_that_cannot_be_spelt_is_named() -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert describe_error(Unspeakable()) == "Unspeakable"
    assert describe_error(KeyError()) == "KeyError"


def make_record(fields: object, error: BaseException | None = None) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("sparing.x", logging.ERROR, "x.py", 1, "a %s", ("b\nc",), info)
    record.created = 1700000000.25
    record.fields = fields
    return record


def test_fields_follow_a_line_of_text() -> None:
    fields = {"status": 200, "path": "/a b", "forged": 'x"\ny=1', "empty": ""}
    line = LineFormatter().format(make_record(fields))
    assert line.endswith(' status=200 path="/a b" forged="x\\"\\\\ny=1" empty=""')
    assert "\n" not in line


def test_as_json_a_record_is_one_object_on_one_line() -> None:
    error = ValueError("first\nsecond")
    line = JsonFormatter(2).format(make_record({"status": 200, "level": "forged"}, error))
    assert "\n" not in line
    found = json.loads(line)
    exception = found.pop("exception")
    assert "ValueError: first\\nsecond" in exception
    assert found == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "ERROR",
        "logger": "sparing.x",
        "message": "a b\\nc",
        "worker": 2,
        "status": 200,
    }
    plain = json.loads(JsonFormatter().format(make_record(None)))
    assert {"worker", "exception"}.isdisjoint(plain)


def test_as_json_a_long_field_is_cut() -> None:
    line = JsonFormatter().format(make_record({"path": "/" + "\0" * 2**20, "status": 404}))
    assert len(line) < 2**14
    found = json.loads(line)
    assert found["path"].endswith("(1046577 characters more)")
    assert found["status"] == 404


def test_a_process_that_fails_logs_json_too(capfd: pytest.CaptureFixture[str]) -> None:
    code = (
        "import threading, warnings; from monitoring.log_limit import configure_logging\n"
        "configure_logging('INFO', log_format='json'); warnings.warn('old')\n"
        "thread = threading.Thread(target=lambda: 1 / 0, name='worker'); thread.start()\n"
        "thread.join(); raise SystemError('over')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert done.returncode == 1
    warned, thread, process = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert "old" in warned["message"]
    assert "ZeroDivisionError" in thread["exception"]
    assert "SystemError: over" in process["exception"]

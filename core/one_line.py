"""Text that others wrote (names from disk, a client's words, a library's message) as one line.

Line breaks, escape sequences and marks that turn the direction of text are spelt out, so that no
name can forge a line of the log or steer a terminal; what is longer than `limit` is cut.
"""


def one_line(text: str, limit: int = 2000) -> str:
    """The text with every unprintable character escaped, as in `\\n`."""
    if len(text) > limit:
        text = f"{text[:limit]}… ({len(text) - limit} characters more)"
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _format(one) for one in text)


def _format(character: str) -> str:
    return character.encode("unicode_escape").decode()

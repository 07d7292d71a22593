"""Makes one safe line of untrusted text: file names, text of clients, messages of libraries.

Line breaks, escape sequences and marks that change the direction of text are escaped, so that no
name can forge a log line or control a terminal. Text longer than `limit` characters is cut.
"""


def one_line(text: str, limit: int = 2000) -> str:
    """Return the text with every unprintable character escaped, as in `\\n`."""
    if len(text) > limit:
        text = f"{text[:limit]}… ({len(text) - limit} characters more)"
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _format(one) for one in text)


def _format(character: str) -> str:
    return character.encode("unicode_escape").decode()

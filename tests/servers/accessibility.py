"""What axe-core finds wrong with a page for people who see, hear or move differently.

`axe/axe.min.js` is axe-core 4.14.1 of Deque Systems, unchanged, under the Mozilla Public License
2.0, which stands beside it. Only tests use it.
"""

from pathlib import Path
from typing import Any

from harness.services.browser import Browser

_AXE = (Path(__file__).with_name("axe") / "axe.min.js").read_text()
_CHECK = "return axe.run(document, arguments[0]).then((one) => one.violations)"


def find_faults(browser: Browser, *, colours_only: bool = False) -> list[str]:
    """Return the serious faults of the page as it is shown: the rule, and the element."""
    browser.run(_AXE)
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if colours_only:
        options["runOnly"] = ["color-contrast"]
    found: list[dict[str, Any]] = browser.run(_CHECK, options)
    return [
        f"{one['id']}: {node['html'][:200]}"
        for one in found
        if one["impact"] in {"serious", "critical"}
        for node in one["nodes"]
    ]

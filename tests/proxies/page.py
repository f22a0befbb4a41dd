"""What stands on the page about proxies, by section: it is tested as it is printed."""

from __future__ import annotations

import json
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "behind-a-proxy.md"


def blocks(section: str, language: str) -> list[str]:
    """The code blocks in *language* below the heading *section*, in order."""
    text = PAGE.read_text(encoding="utf-8")
    body = re.split(r"^## ", text.partition(f"\n## {section}\n")[2], flags=re.MULTILINE)[0]
    return re.findall(rf"^```{language}\n(.*?)^```", body, re.MULTILINE | re.DOTALL)


def environment(block: str) -> dict[str, str]:
    """The variables that a shell would set from *block*."""
    pairs = (line.partition("=") for line in block.splitlines() if line)
    return {name: value.strip("'") for name, _, value in pairs}


def networks(block: str) -> list[str]:
    """The trusted proxies in *block*."""
    return json.loads(environment(block)["PRODKIT_PROXIES__TRUSTED_PROXIES"])

"""A hook of mkdocs: warn if a page of the site would load anything from another host.

`make docs` is strict, so a warning fails the build.
"""

import logging
import re
from pathlib import Path
from typing import Any

log = logging.getLogger("mkdocs.plugins.offline")

# Elements that a browser loads by itself. Links that a reader follows may lead anywhere.
LOADED = re.compile(r"<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
IMPORTED = re.compile(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^)\"']+")


def on_post_build(config: Any) -> None:
    """Look through every page and style sheet of the site that was built."""
    site = Path(config["site_dir"])
    for pattern, suffix in ((LOADED, "*.html"), (IMPORTED, "*.css")):
        for file in sorted(site.rglob(suffix)):
            for found in pattern.findall(file.read_text()):
                log.warning("%s loads from another host: %s", file.relative_to(site), found)

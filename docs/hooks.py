"""For mkdocs: files of the source tree outside docs/ are named, not linked, on the site."""

import re
from typing import Any

OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)]+)\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by mkdocs with the text of each page."""
    if "/" in page.file.src_uri:
        return markdown  # `../` of a page in a folder is docs/ itself
    return OUTSIDE.sub(r"\1 (`\2` of the source)", markdown)

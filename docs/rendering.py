"""Parts of pages that scripts write, between `<!-- part: ... -->` and `<!-- end -->`."""

import re
from collections.abc import Mapping
from pathlib import Path

from keras_inception.files import atomic_path

DOCS = Path(__file__).parent


def filled(page: str, part: str, content: str) -> str:
    """Return a page with one of its parts renewed."""
    marked = re.compile(rf"(<!-- {part}: [^\n]*-->\n).*?(<!-- end -->)", re.DOTALL)
    return marked.sub(lambda match: f"{match[1]}\n{content}\n{match[2]}", page)


def write(files: Mapping[Path, str]) -> None:
    """Write files, each whole or not at all."""
    for path, content in files.items():
        with atomic_path(path) as temporary:
            temporary.write_text(content, encoding="utf-8")

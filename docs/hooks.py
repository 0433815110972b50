"""What mkdocs needs beyond docs/: the pages and videos of the checkout's root, and links between them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"\]\((?!https?:)([^)\s#]*)((?:#[^)\s]*)?)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and videos of the root."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    for video in sorted((ROOT / "videos").glob("*.*")):
        files.append(File.generated(config, f"videos/{video.name}", abs_src_path=str(video)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links as they are on the site. What is not there, such as a source file, stays as text."""
    at_root = page.file.src_uri in PAGES.values()

    def there(match: re.Match[str]) -> str:
        path, anchor = match.groups()
        if not path:
            return match[0]
        target = (ROOT if at_root else ROOT / "docs") / path
        place = target.resolve().relative_to(ROOT).as_posix()
        place = PAGES.get(place, "index.md" if place == "docs/README.md" else place.removeprefix("docs/"))
        return f"]({place}{anchor})" if files.get_file_from_path(place) else "](#)"

    return LINK.sub(there, markdown)

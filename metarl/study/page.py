"""How a report looks: one HTML page that needs neither network nor scripts, in light and dark (page.html).

Charts inside are SVG whose colours are variables of the page, so that they follow its light or dark scheme.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from metarl.figures.appearance import on_dark

COLOUR = re.compile(r"\b(fill|stroke): (#[0-9a-f]{6})")


def svg(figure: Any, title: str) -> str:
    """A Matplotlib figure as an `<svg>` element without a background; `theme` has its colours. The title is read out.

    Texts stay texts: they can be searched, and have the font of the page.
    """
    from matplotlib import rc_context

    out = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "metarl"}):
        figure.savefig(out, format="svg", bbox_inches="tight", pad_inches=0.1, transparent=True)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"| (width|height)="[\d.]+pt"', "", text, count=4)
    text = text.replace("xlink:href", "href").replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", text)
    return COLOUR.sub(lambda found: f"{found[1]}: var(--{found[2][1:]})", text)


def theme(svgs: Iterable[str]) -> str:
    """Style sheet with the colours of `svgs`, in light and dark."""
    used = sorted({f"#{name}" for text in svgs for name in re.findall(r"var\(--([0-9a-f]{6})\)", text)})
    light, dark = ("".join(f"--{colour[1:]}: {as_shown(colour)}; " for colour in used) for as_shown in (str, on_dark))
    return f":root {{ {light}}}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark}}} }}\n"


def render(**content: Any) -> str:
    """The page. Every text in `content` is escaped; only charts and their theme are not."""
    options: dict[str, Any] = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, **options)
    return environment.get_template("page.html").render(**content) + "\n"

"""report.html: the page of report.md with its figures inside, one file that can be sent on and printed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape, unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markdown_it.token import Token

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1, h2 { line-height: 1.2; border-bottom: 1px solid #ccc; padding-bottom: .3rem }
table { display: block; overflow-x: auto; border-collapse: collapse; margin: 1rem 0 }
table { font-size: .9rem; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .6rem; text-align: left; overflow-wrap: break-word }
th, td[style*="right"] { white-space: nowrap }
pre { background: #f4f4f4; padding: .6rem; white-space: pre-wrap; overflow-wrap: anywhere }
svg { display: block; width: 100%; height: auto; margin: 1rem 0 }
@media print { body { max-width: none; margin: 0 } svg, tr { break-inside: avoid } }
"""


def html_page(folder: Path) -> str:
    """The whole of report.html, from report.md and the figures (SVG, whose marks say what they are) in a folder."""
    from markdown_it import MarkdownIt

    text = (folder / "report.md").read_text(encoding="utf-8")
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(text)
    for image in _images(tokens):
        _draw(image, folder)
    title = escape(unescape(text.partition("\n")[0].removeprefix("# ")), quote=False)
    body = markdown.renderer.render(tokens, markdown.options, {})
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width">\n<style>{_STYLE}</style>\n</head>\n'
        f"<body>\n{body}</body>\n</html>\n"
    )


def _images(tokens: Sequence[Token]) -> Iterator[Token]:
    for token in tokens:
        yield from (child for child in token.children or () if child.type == "image")


def _draw(image: Any, folder: Path) -> None:
    """Put the drawing itself where the page refers to it."""
    drawn = (folder / str(image.attrs["src"])).with_suffix(".svg").read_text(encoding="utf-8")
    image.type, image.content = "html_inline", _named(drawn[drawn.index("<svg") :], image.content)


def _named(svg: str, name: str) -> str:
    """A drawing that says aloud what it is."""
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(name)}"', 1)

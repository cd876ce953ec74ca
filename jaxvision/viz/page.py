"""A static page: one file of HTML with its pictures inside, without scripts."""

import base64
import dataclasses
import html
import io
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

Picture = UInt8[np.ndarray, 'h w 3']

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 70em; margin: 2em auto;
       padding: 0 1em; }}
h2 {{ font-size: 1.1em; margin: 2em 0 0.3em; overflow-wrap: anywhere; }}
img {{ max-width: 100%; }}
table {{ border-collapse: collapse; margin: 0.5em 0; }}
td, th {{ padding: 0.15em 0.8em 0.15em 0; text-align: left; vertical-align: top; }}
td {{ font-variant-numeric: tabular-nums; }}
p {{ margin: 0.3em 0; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a page.

    Attributes:
        heading: of the section; '': none.
        lines: paragraphs.
        table: rows of cells by column. Columns are those of the first row.
        picture: below the table, as a PNG.
    """

    heading: str = ''
    lines: Sequence[str] = ()
    table: Sequence[Mapping[str, str]] = ()
    picture: bytes = b''


def write(title: str, sections: Sequence[Section]) -> str:
    """Write a page as HTML. All texts are escaped, and pictures are part of the file."""
    body = '\n'.join(_section(section) for section in sections)
    return _PAGE.format(title=html.escape(title), body=body)


def png(picture: Picture) -> bytes:
    """Encode a picture as PNG."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, 'PNG', optimize=True)
    return file.getvalue()


def _section(section: Section) -> str:
    parts = []
    if section.heading:
        parts.append(f'<h2>{html.escape(section.heading)}</h2>')
    parts += [f'<p>{html.escape(line)}</p>' for line in section.lines]
    if section.table:
        parts.append(_table(section.table))
    if section.picture:
        encoded = base64.b64encode(section.picture).decode()
        alt = html.escape(section.heading)
        parts.append(f'<img alt="{alt}" src="data:image/png;base64,{encoded}">')
    return '\n'.join(parts)


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    columns = list(rows[0])
    lines = [''.join(f'<th>{html.escape(column)}</th>' for column in columns)]
    for row in rows:
        cells = [html.escape(row.get(column, '')) for column in columns]
        lines.append(''.join(f'<td>{cell}</td>' for cell in cells))
    body = '\n'.join(f'<tr>{line}</tr>' for line in lines)
    return f'<table>\n{body}\n</table>'

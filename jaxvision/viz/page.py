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
.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
p {{ margin: 0.3em 0; }}
li {{ overflow-wrap: anywhere; }}
.warning, .good {{ border-left: 4px solid; padding: 0.2em 0.8em; }}
.warning {{ border-color: #b35900; background: #fff6ec; }}
.good {{ border-color: #1a7f37; background: #effaf1; }}
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
        warnings: marked paragraphs.
        good: a paragraph with the mark of success; '': none.
        table: rows of cells by column. Columns are those of the first row. Whole numbers
            stand to the right.
        lists: items by the title of their list, which can be folded.
        picture: below the table, as a PNG.
        alt: describes the picture; '': the heading does.
    """

    heading: str = ''
    lines: Sequence[str] = ()
    warnings: Sequence[str] = ()
    good: str = ''
    table: Sequence[Mapping[str, str]] = ()
    lists: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    picture: bytes = b''
    alt: str = ''


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
        parts.append(_tag('h2', section.heading))
    parts += [_tag('p', line) for line in section.lines]
    parts += [_tag('p', line, 'warning') for line in section.warnings]
    if section.good:
        parts.append(_tag('p', section.good, 'good'))
    if section.table:
        parts.append(_table(section.table))
    parts += [_list(title, items) for title, items in section.lists.items()]
    if section.picture:
        encoded = base64.b64encode(section.picture).decode()
        alt = html.escape(section.alt or section.heading)
        parts.append(f'<img alt="{alt}" src="data:image/png;base64,{encoded}">')
    return '\n'.join(parts)


def _tag(name: str, text: str, kind: str = '') -> str:
    """An element with a text, of a class of the style sheet or of none."""
    attribute = f' class="{kind}"' if kind else ''
    return f'<{name}{attribute}>{html.escape(text)}</{name}>'


def _list(title: str, items: Sequence[str]) -> str:
    lines = ''.join(_tag('li', item) for item in items)
    summary = _tag('summary', title)
    return f'<details open>{summary}<ul>{lines}</ul></details>'


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    kinds = {}
    for column in rows[0]:
        cells = [row.get(column, '') for row in rows]
        kinds[column] = 'number' if all(map(_is_number, cells)) else ''
    lines = [''.join(_tag('th', column, kind) for column, kind in kinds.items())]
    for row in rows:
        cells = [
            _tag('td', row.get(column, ''), kind) for column, kind in kinds.items()
        ]
        lines.append(''.join(cells))
    body = '\n'.join(f'<tr>{line}</tr>' for line in lines)
    return f'<table>\n{body}\n</table>'


def _is_number(text: str) -> bool:
    """Whether a text is a whole number, such as '1,234'."""
    return text.replace(',', '').isdecimal()

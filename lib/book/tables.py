"""Tables as plain HTML, and the sources' tables with our numbers in them.

JupyterLab cleans the HTML of a notebook that it does not trust: styles, scripts and ids go, `style` attributes stay
(its allow list knows the properties used here). So everything is said inline, and colours are half transparent, which
serves light and dark themes alike.
"""

import html
from collections import Counter
from collections.abc import Iterable, Sequence

import pandas as pd

from lib.book.ledger import VERDICTS, Bounds, JudgedClaim, Record
from lib.interval import SMALLEST
from lib.papers import all_printed, sources

LINE = "1px solid rgba(128, 128, 128, 0.4)"
CELL = f"padding: 3px 8px; border-bottom: {LINE}; vertical-align: top; white-space: normal"
DIM = "opacity: 0.5"
# where the printed number lies, seen from our interval: its sign and its shade (Okabe and Ito's orange and blue)
ABOVE = ("▲", "rgba(230, 159, 0, 0.3)")
BELOW = ("▼", "rgba(86, 180, 233, 0.3)")
INSIDE = ("✓", "")
PRINTED_IS = {"lower": ABOVE, "higher": BELOW, "agrees": INSIDE, "by construction": INSIDE, "not printed": ("", "")}
KEY = (
    "In a cell: the printed number over ours [95 % interval]. "
    "✓ the printed number lies inside our interval, ▲ above it, ▼ below it."
)
# a colour and a sign for each verdict, told apart without colour sight as well; readable on white and on black
MARKS = {"good": ("#1f7db8", "●"), "bad": ("#c4540a", "✕"), "open": ("#767676", "○")}
FIRST = 10  # rows that a page shows of a longer table
ABSENT = "not attempted on this page"


def number(value: float | None) -> str:
    """Four significant digits; a dash for nothing; rounding noise is 0."""
    return "–" if value is None else f"{0.0 if abs(value) < SMALLEST else value:.4g}"


def span(interval: Bounds | None) -> str:
    """An interval in words."""
    return "–" if interval is None else f"{number(interval[0])} to {number(interval[1])}"


def bracket(interval: Bounds | None) -> str:
    """An interval in brackets with three significant digits, short enough for a cell; nothing for none."""
    return "" if interval is None else f"[{significant(interval[0], 3)}, {significant(interval[1], 3)}]"


def wanted(claim: JudgedClaim) -> str:
    """What is expected of a claim, in a table's cell."""
    return f"{claim.expected} ± {claim.margin:g}" if claim.margin else claim.expected


def significant(value: float, digits: int) -> str:
    """A number with so many significant digits, without an exponent, and all the digits of its whole part."""
    if value != value:
        return "–"
    value = 0.0 if abs(value) < SMALLEST else value
    rounded = float(f"{value:.{digits}g}")
    if abs(rounded) >= 10 ** (digits - 1):
        return f"{value:.0f}"
    return (
        f"{rounded:.{digits + 3}f}".rstrip("0").rstrip(".") if abs(rounded) >= 1e-3 or not rounded else f"{value:.2g}"
    )


def marked(verdict: str, kind: str) -> str:
    """A verdict with its sign, as HTML in its colour."""
    good, bad, _ = VERDICTS[kind]
    colour, sign = MARKS[{good: "good", bad: "bad"}.get(verdict, "open")]
    return f'<b style="color: {colour}; white-space: nowrap">{sign} {html.escape(verdict)}</b>'


def html_table(head: str, rows: Iterable[str], caption: str = "", below: str = "") -> str:
    """A table of finished rows (`<tr>...</tr>`) under finished head cells, its caption above, a remark below."""
    title = f'<p style="margin: 8px 0 4px 0"><b>{html.escape(caption)}</b></p>' if caption else ""
    remark = f'<p style="margin: 4px 0 12px 0; font-size: 12px">{below}</p>' if below else ""
    style = "border-collapse: collapse; font-size: 13px; margin: 0"
    body = f'<table style="{style}"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return f'{title}<div style="overflow-x: auto">{body}</div>{remark}'


def cell(text: str, tag: str = "td", align: str = "left", style: str = "") -> str:
    """One cell; `text` is HTML already."""
    return f'<{tag} align="{align}" style="text-align: {align}; {CELL}{"; " + style if style else ""}">{text}</{tag}>'


def frame_table(frame: pd.DataFrame, caption: str, decimals: int | None = 3, below: str = "") -> str:
    """A data frame as HTML; numbers with `decimals` significant digits (None: as they are), flush right."""
    numeric = [pd.api.types.is_numeric_dtype(frame[name]) and frame[name].dtype != bool for name in frame.columns]
    aligned = ["right" if right else "left" for right in numeric]
    rows = []
    for values in frame.itertuples(index=False):
        texts = [_text(value, decimals) for value in values]
        rows.append("<tr>" + "".join(cell(t, align=a) for t, a in zip(texts, aligned, strict=True)) + "</tr>")
    top = "".join(cell(html.escape(str(n)), "th", a) for n, a in zip(frame.columns, aligned, strict=True))
    return html_table(top, rows, caption, below)


def _text(value: object, decimals: int | None) -> str:
    if isinstance(value, float) and decimals is not None:
        return significant(value, decimals)
    return html.escape(str(value))


def claims_table(claims: Sequence[JudgedClaim]) -> str:
    """Claims with their effects and verdicts, those of the source first; five columns, which fit a narrow window.

    Of more than `FIRST` claims only the source's are shown at once, the others folded under their count of verdicts.
    """
    told = "The claims of this page, judged by their intervals."
    if len(claims) <= FIRST:
        return _claims(sorted(claims, key=lambda claim: list(VERDICTS).index(claim.kind)), told)
    groups = {kind: [claim for claim in claims if claim.kind == kind] for kind in VERDICTS}
    parts = [_claims(groups.pop("source"), f"{told} Critiques and checks of ours are folded below.")]
    for kind, some in groups.items():
        verdicts = Counter(claim.verdict for claim in some)
        counted = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
        if some:
            parts.append(f"<details><summary><b>{kind}s</b>: {counted}</summary>{_claims(some, '')}</details>")
    return "".join(parts)


def _claims(claims: Sequence[JudgedClaim], caption: str) -> str:
    rows = []
    for claim in claims:
        name = f'<span style="white-space: nowrap">{claim.id}</span><br>{claim.kind}'
        words = f"{html.escape(claim.claim)}<br><i>Measured:</i> {html.escape(claim.measured)}"
        words += f"<br><i>{html.escape(claim.note)}</i>" if claim.note else ""
        effect = f"{number(claim.effect)} {bracket(claim.interval)}"
        texts = [name, words, effect, html.escape(wanted(claim)), marked(claim.verdict, claim.kind)]
        rows.append("<tr>" + "".join(cell(text) for text in texts) + "</tr>")
    head = ["claim", "in words", "effect [95 % interval]", "expected", "verdict"]
    top = "".join(cell(name, "th") for name in head)
    return html_table(top, rows, caption)


def source_tables(records: Sequence[Record]) -> str:
    """Every table of the sources that `records` touch, in their order, each in its own shape."""
    items = dict.fromkeys((record.source, record.item) for record in records)
    return "".join(source_table(*item, [r for r in records if (r.source, r.item) == item]) for item in items)


def source_table(source: str, item: str, records: Sequence[Record]) -> str:
    """One printed table of a source: its rows and columns, in each cell the printed number over ours.

    Shaded and signed where the printed number lies outside our interval; dimmed where nothing could be measured, the
    reasons once below. Rows that none of the `records` touches are counted, not shown. A table without any number of
    ours is folded.
    """
    printed = all_printed(source)
    printed = printed[printed["item"] == item]
    values = printed.set_index(["row", "column"])["value"].to_dict()
    ours: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        ours.setdefault((record.row, record.column), []).append(record)
    recorded = {row for row, _ in ours}
    rows = [row for row in dict.fromkeys([*printed["row"], *(r.row for r in records)]) if row in recorded]
    units = dict(printed[printed["row"].isin(rows)][["column", "unit"]].itertuples(index=False))
    units |= {record.column: record.unit for record in records}
    reasons = _reasons([(row, column) for row in rows for column in units], values, ours)
    lines = []
    for at, row in enumerate(rows):
        group, _, name = row.rpartition(" / ")
        if group and (at == 0 or group != rows[at - 1].rpartition(" / ")[0]):
            across = f'align="left" colspan="{len(units) + 1}" style="text-align: left; {CELL}"'
            lines.append(f"<tr><td {across}><b>{html.escape(group)}</b></td></tr>")
        cells = [_cell(values.get((row, column)), ours.get((row, column), []), reasons) for column in units]
        lines.append(f"<tr>{cell(html.escape(name))}{''.join(cells)}</tr>")
    unit = f" ({next(iter(units.values()))})" if len(set(units.values())) == 1 else ""
    names = [html.escape(column if unit else f"{column}, {units[column]}") for column in units]
    caption = f"{sources()[source]['short']}, {item}{unit}"
    head = cell("", "th") + "".join(cell(name, "th", "right") for name in names)
    table = html_table(head, lines, caption, _below(reasons, records, printed["row"].nunique() - len(rows)))
    if any(record.ours is not None for record in records):
        return table
    return f"<details><summary>{html.escape(caption)}: nothing in it can be measured here.</summary>{table}</details>"


def _reasons(places: list[tuple[str, str]], values: dict, ours: dict[tuple[str, str], list[Record]]) -> dict[str, str]:
    """A letter for each reason why a cell among `places` has no number of ours, the most frequent first."""
    found = Counter(record.note for place in places for record in ours.get(place, []) if record.ours is None)
    found[ABSENT] = sum(place in values and place not in ours for place in places)
    return {reason: chr(ord("a") + at) for at, (reason, count) in enumerate(found.most_common()) if count}


def _cell(value: float | None, records: list[Record], reasons: dict[str, str]) -> str:
    if value is None and not records:
        return cell("", align="right")
    value = records[0].paper if records else value
    over = "not printed" if value is None else number(value)
    measured = [record for record in records if record.ours is not None]
    if not measured:
        letter = reasons[records[0].note if records else ABSENT]
        return cell(f"{over}<br>– <sup>{letter}</sup>", align="right", style=DIM)
    sign, shade = PRINTED_IS[measured[0].verdict]
    under = "<br>".join(f"{significant(record.ours, 4)} {bracket(record.interval)}".strip() for record in measured)
    return cell(f"{over} {sign}<br>{under}", align="right", style=f"background-color: {shade}" if shade else "")


def _below(reasons: dict[str, str], records: Sequence[Record], left_out: int) -> str:
    parts = [KEY] if any(record.ours is not None for record in records) else []
    parts += [f"<sup>{letter}</sup> {html.escape(reason)}." for reason, letter in reasons.items()]
    settings = list(dict.fromkeys(record.setting for record in records if record.setting))
    parts += [f"Ours{', for example' if len(settings) > 1 else ''}: {html.escape(settings[0])}."] if settings else []
    parts += [f"{left_out} more rows of this table are not on this page."] if left_out else []
    counts = Counter(record.n for record in records if record.n)
    parts += [f"n = {', '.join(str(n) for n in sorted(counts))}."] if counts else []
    return " ".join(parts)


def records_frame(records: Sequence[Record]) -> pd.DataFrame:
    """Every record with every field, for the csv."""
    rows = []
    for r in records:
        low, high = r.interval or (None, None)
        row = {"source": r.source, "item": r.item, "row": r.row, "column": r.column, "unit": r.unit}
        row |= {"paper": r.paper, "ours": r.ours, "low": low, "high": high, "n": r.n}
        rows.append(row | {"setting": r.setting, "ours is": r.verdict, "note": r.note})
    return pd.DataFrame(rows)

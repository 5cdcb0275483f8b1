"""The answer first: the box of five lines at the top of a page, filled from the page's last ledger."""

import html
from pathlib import Path

from lib.book.contents import PAGES, About, about, neighbours
from lib.book.ledger import JudgedClaim, Ledger, Record, read_ledger
from lib.book.tables import LINE, bracket, cell, marked, number, significant, wanted
from lib.papers import printed, registered_claim, sources
from lib.paths import FIGURES

SAYS = {"source": "The source says", "critique": "We say against the source", "check": "We check"}
WHY = {  # of a verdict, as a sentence on the interval
    "all": "all of {interval} fulfils {wanted}",
    "none": "none of {interval} fulfils {wanted}",
    "some": "{interval} reaches to both sides of {wanted}",
}
EXTENT = {"replicated": "all", "supported": "all", "passed": "all", "undecided": "some"}


def answer_box(page: str, profile: str, folder: Path | None = None) -> str:
    """The box of a page as HTML: question, test, source, measurement, verdict; then what a reader needs, and links.

    folder: where the page's ledger is, by default figures/<profile>/<page>. Where it has none yet, the committed
    laptop ledger speaks.
    """
    entry = about(page)
    ledger = last_ledger(page, profile, folder)
    lines = {
        "Question": html.escape(entry.question),
        "How it was tested": html.escape(entry.tested),
        "What the source prints": _printed(entry),
        "What we measured": _measured(entry, ledger),
        "Verdict, and why": _verdicts(entry, ledger),
    }
    rows = [f"<tr>{cell(f'<b>{name}</b>', style='width: 20%')}{cell(text)}</tr>" for name, text in lines.items()]
    style = f"border-collapse: collapse; font-size: 14px; width: 100%; border: {LINE}"
    return f'<table style="{style}"><tbody>{"".join(rows)}</tbody></table>{_feet(page, entry)}'


def last_ledger(page: str, profile: str, folder: Path | None = None) -> Ledger | None:
    """The page's ledger in `folder`, else the committed one of the laptop profile, else nothing."""
    places = [folder or FIGURES / profile / page, FIGURES / "laptop" / page]
    return next((read_ledger(place / "ledger.json") for place in places if (place / "ledger.json").exists()), None)


def why(claim: JudgedClaim) -> str:
    """Why a claim has its verdict, in words."""
    if claim.interval is None:
        return claim.note
    extent = EXTENT.get(claim.verdict, "none")
    return WHY[extent].format(interval=bracket(claim.interval), wanted=wanted(claim))


def _printed(entry: About) -> str:
    lines = []
    for id in entry.headline:
        claim = registered_claim(id)
        where = f" ({html.escape(claim.where)})" if claim.where else ""
        lines.append(f"{SAYS[claim.kind]}{where}: {html.escape(claim.claim)}")
    for source, item, row, column in entry.cells:
        value = printed(source, item, row, column)
        place = html.escape(f"{sources()[source]['short']}, {item}, {row}, {column}")
        lines.append(f"{place}: <b>{number(value.value)}</b> {html.escape(value.unit)}")
    return "<br>".join(lines)


def _measured(entry: About, ledger: Ledger | None) -> str:
    if ledger is None:
        return "Nothing yet: run this page."
    claims = {claim.id: claim for claim in ledger.claims}
    lines = [_effect(claims[id]) for id in entry.headline if id in claims]
    for place in entry.cells:
        lines += [_ours(r) for r in ledger.records if (r.source, r.item, r.row, r.column) == tuple(place)]
    data = ", ".join(html.escape(name) for name in ledger.header.get("data", []))
    rehearsal = " This is a rehearsal on embedded data and no evidence." if ledger.profile == "smoke" else ""
    return "<br>".join([*lines, f"<i>Profile {ledger.profile}; {data}.{rehearsal}</i>"])


def _effect(claim: JudgedClaim) -> str:
    return f"{html.escape(claim.measured)}: <b>{number(claim.effect)}</b> {bracket(claim.interval)}"


def _ours(record: Record) -> str:
    value = "–" if record.ours is None else significant(record.ours, 4)
    place = html.escape(f"{record.item}, {record.row}, {record.column}")
    return f"{place}: <b>{value}</b> {bracket(record.interval)} {html.escape(record.unit)}"


def _verdicts(entry: About, ledger: Ledger | None) -> str:
    claims = {claim.id: claim for claim in ledger.claims} if ledger else {}
    judged = [claims[id] for id in entry.headline if id in claims]
    lines = [f"{marked(claim.verdict, claim.kind)}: {html.escape(why(claim))}." for claim in judged]
    return "<br>".join([*lines, html.escape(entry.lesson)])


def _feet(page: str, entry: About) -> str:
    before, after = neighbours(page)
    titles = {place.name: place.name.replace("_", " ") for place in PAGES}
    ends = [("← ", before), ("→ ", after)]
    links = [f'<a href="{name}.ipynb">{arrow}{titles[name]}</a>' for arrow, name in ends if name]
    links.append('<a href="../GLOSSARY.md">glossary</a>')
    parts = [f"<b>You need:</b> {html.escape(entry.needs)}", f"<b>Reading:</b> {entry.read} min"]
    parts.append(f"<b>Running (laptop profile, two cores):</b> {entry.run} min")
    return f'<p style="margin: 6px 0 12px 0; font-size: 13px">{" · ".join(parts)}<br>{" · ".join(links)}</p>'

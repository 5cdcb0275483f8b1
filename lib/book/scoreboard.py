"""The scoreboard: every ledger of the book on one page a source, a short summary, and a line for the terminal.

The headline counts the sources' own claims; our critiques and the checks of our own tools are counted apart.
"""

import html
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from lib.book.contents import PAGES
from lib.book.ledger import NOT_TESTABLE, VERDICTS, JudgedClaim, Ledger, read_ledger
from lib.book.tables import marked, number, source_tables, span, wanted
from lib.paths import FIGURES, atomic

REAL = "Each page at the best profile it was measured at (paper, then gpu, then laptop)."
REHEARSAL = (
    "The smoke profile: a rehearsal on embedded data. It shows that every page ran and is no evidence on the sources."
)
MEANING = (
    "A verdict is computed from the 95 % interval: the first word when all of it fulfils the expectation, the second "
    "when none of it does, undecided when it reaches to both sides. "
    "Claims of the sources: replicated, not replicated. Our critiques: supported, refuted. Checks: passed, failed."
)
EVIDENCE = ("paper", "gpu", "laptop")  # best first; smoke is a rehearsal on embedded data and proves nothing
TITLES = {"source": "claims of the sources", "critique": "critiques of ours", "check": "checks of our tools"}
STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;font-size:13px;margin:.5rem 0 1.5rem;width:100%}
th,td{border-bottom:1px solid #ddd;padding:3px 8px;text-align:left;vertical-align:top}th{background:#f5f5f5}
nav a{margin-right:1rem}section{border-top:2px solid #222;margin-top:2rem}details{margin:.5rem 0}
input{font:inherit;padding:.3rem;width:20rem}.verdict{white-space:nowrap;font-weight:600}"""
FILTER = """<script>document.getElementById('filter').addEventListener('input',e=>{const w=e.target.value.toLowerCase();
document.querySelectorAll('tbody tr').forEach(r=>r.hidden=!r.textContent.toLowerCase().includes(w));
document.querySelectorAll('details').forEach(d=>d.open=w.length>0)})</script>"""


def ledgers(profiles: Iterable[str]) -> dict[str, Ledger]:
    """The ledger of each page at the first of `profiles` that has one, in reading order."""
    found = {}
    for page in PAGES:
        paths = [FIGURES / profile / page.name / "ledger.json" for profile in profiles]
        path = next((path for path in paths if path.exists()), None)
        if path:
            found[page.name] = read_ledger(path)
    return found


def by_source(found: dict[str, Ledger]) -> dict[str, dict[str, Ledger]]:
    """The ledgers of each source, in reading order."""
    groups: dict[str, dict[str, Ledger]] = {}
    for page in PAGES:
        if page.name in found:
            groups.setdefault(page.source, {})[page.name] = found[page.name]
    return groups


def counts(claims: Iterable[JudgedClaim], kind: str) -> str:
    """How claims of a kind fared, in words: '7 replicated, 2 undecided'."""
    tally = Counter(claim.verdict for claim in claims if claim.kind == kind)
    order = [*VERDICTS[kind], NOT_TESTABLE]
    return ", ".join(f"{tally[verdict]} {verdict}" for verdict in order if tally[verdict]) or "none"


def headline(found: dict[str, Ledger]) -> str:
    """The one line that counts: the sources' own claims."""
    claims = all_claims(found.values())
    total = sum(claim.kind == "source" for claim in claims)
    return f"{total} claims of the sources: {counts(claims, 'source')}"


def all_claims(books: Iterable[Ledger]) -> list[JudgedClaim]:
    """The claims of several ledgers."""
    return [claim for book in books for claim in book.claims]


def build(profile: str | None = None) -> Path:
    """Write scoreboard.html and .md: of one profile, or (None) of the best evidence. Returns the HTML's path."""
    found = ledgers([profile] if profile else EVIDENCE)
    folder = FIGURES / profile if profile else FIGURES
    note = REHEARSAL if profile == "smoke" else REAL
    for name, content in (("scoreboard.md", markdown(found, note)), ("scoreboard.html", web_page(found, note))):
        with atomic(folder / name) as scratch:
            scratch.write_text(content, encoding="utf-8")
    return folder / "scoreboard.html"


def markdown(found: dict[str, Ledger], note: str) -> str:
    """The short scoreboard: totals, a line for each page, and the sources' claims."""
    lines = [
        "# Scoreboard",
        "",
        f"**{headline(found)}.** {note}",
        "",
        "| page | source | claims of the source | ours |",
    ]
    lines.append("| --- | --- | --- | --- |")
    for page in PAGES:
        if page.name in found:
            claims = found[page.name].claims
            ours = "; ".join(f"{kind}s: {counts(claims, kind)}" for kind in ("critique", "check"))
            cells = (page.name, page.source, counts(claims, "source"), ours)
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| claim | in words | effect | expected | verdict |", "| --- | --- | --- | --- | --- |"]
    for claim in all_claims(found.values()):
        if claim.kind == "source":
            effect = f"{number(claim.effect)} [{span(claim.interval)}]"
            cells = (claim.id, claim.claim, effect, wanted(claim), claim.verdict)
            lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join([*lines, "", f"{MEANING} Everything, with every printed number: scoreboard.html.", ""])


def web_page(found: dict[str, Ledger], note: str) -> str:
    """The whole scoreboard: one screen a source, its own claims first, every printed number folded below them."""
    groups = by_source(found)
    links = "".join(f"<a href='#{anchor(source)}'>{html.escape(source)}</a>" for source in groups)
    sections = "".join(_section(source, books) for source, books in groups.items())
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Scoreboard</title>"
        f"<style>{STYLE}</style><h1>Scoreboard</h1><p><b>{html.escape(headline(found))}.</b> {note} {MEANING}</p>"
        f"<nav>{links}</nav><p><label>Show lines with <input id='filter' type='search'></label></p>{sections}{FILTER}"
        "</html>"
    )


def anchor(source: str) -> str:
    """A source's place on the page."""
    return source.lower().replace(" ", "-")


def _section(source: str, books: dict[str, Ledger]) -> str:
    claims = all_claims(books.values())
    parts = [f"<section id='{anchor(source)}'><h2>{html.escape(source)}</h2>"]
    for kind, title in TITLES.items():
        rows = [_claim_row(page, claim) for page, book in books.items() for claim in book.claims if claim.kind == kind]
        if rows:
            table = _table(
                ["page", "claim", "in words", "measured", "effect", "95 % interval", "expected", "verdict"], rows
            )
            opened = " open" if kind == "source" else ""
            parts.append(f"<details{opened}><summary><b>{title}</b>: {counts(claims, kind)}</summary>{table}</details>")
    for page, book in books.items():
        if book.records:
            tally = ", ".join(f"{n} {verdict}" for verdict, n in Counter(r.verdict for r in book.records).most_common())
            table = source_tables(book.records)
            parts.append(f"<details><summary>{_link(page)} Printed numbers: {tally}</summary>{table}</details>")
    return "".join([*parts, "</section>"])


def _link(page: str) -> str:
    return f"<a href='../notebooks/{page}.ipynb'>{page}</a> (<a href='laptop/{page}/'>figures</a>)"


def _claim_row(page: str, claim: JudgedClaim) -> list[str]:
    changed = f"<br><small>Changed: {html.escape(claim.changed)}.</small>" if claim.changed else ""
    note = f"<br><small>{html.escape(claim.note)}</small>" if claim.note else ""
    texts = [html.escape(text) for text in (claim.id, claim.claim, claim.measured)]
    texts[1] += changed
    texts[2] += note
    numbers = [number(claim.effect), span(claim.interval), html.escape(wanted(claim))]
    return [_link(page), *texts, *numbers, marked(claim.verdict, claim.kind)]


def _table(head: list[str], rows: list[list[str]]) -> str:
    top = "".join(f"<th>{name}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def summary(profile: str) -> str:
    """The scoreboard in a few lines for the terminal; at smoke only what ran, and where real verdicts stand."""
    found = ledgers([profile])
    if profile == "smoke":
        lines = [f"  {name:<28} ran" for name in found]
        measured = f"Measured on real data, as committed: {headline(ledgers(EVIDENCE))}."
        return "\n".join(["Smoke: a rehearsal on embedded data", *lines, measured, "Look at figures/scoreboard.html"])
    lines = [f"  {name:<28} {counts(book.claims, 'source')}" for name, book in found.items()]
    return "\n".join([f"Scoreboard, profile {profile}: {headline(found)}", *lines])


def status(found: dict[str, Ledger]) -> pd.DataFrame:
    """One row a page for a reader's map: source, what it reproduces, how the source's claims fared, profile, data."""
    rows = []
    for page in PAGES:
        book = found.get(page.name)
        state = (
            counts(book.claims, "source") if book else "written, not measured" if page.written else "not written yet"
        )
        row = {"page": page.name, "source": page.source, "reproduces": page.reproduces, "claims of the source": state}
        measured = (book.profile, book.header["device"], ", ".join(book.header["data"])) if book else ("–",) * 3
        rows.append(row | dict(zip(("profile", "device", "data"), measured, strict=True)))
    return pd.DataFrame(rows)

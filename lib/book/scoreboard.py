"""The scoreboard: every ledger of the book in one table, as HTML and Markdown, and as a few lines for the terminal."""

import html
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from lib.book.contents import PAGES
from lib.book.ledger import Ledger, read_ledger
from lib.book.run import claims_frame, records_frame
from lib.paths import FIGURES, atomic

REAL = "Each page at the best profile it was measured at (paper, then gpu, then laptop)."
REHEARSAL = (
    "The smoke profile: a rehearsal on embedded data. It shows that everything runs and is no evidence on the sources."
)
VERDICTS = (
    "A verdict is computed from the 95 % interval: replicated when all of it fulfils the expectation, "
    "not replicated when none of it does, partly when it reaches to both sides."
)
NUMBERS = "'ours is' says whether the printed number lies in our interval (agrees) or ours is higher or lower."
EVIDENCE = ("paper", "gpu", "laptop")  # best first; smoke is a rehearsal on embedded data and proves nothing
STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;font-size:13px;margin:.5rem 0 1.5rem}th,td{border-bottom:1px solid #ddd;padding:3px 8px;
text-align:left;vertical-align:top}th{background:#f5f5f5}h2{margin-top:2rem}"""


def ledgers(profiles: Iterable[str]) -> dict[str, Ledger]:
    """The ledger of each page at the first of `profiles` that has one, in reading order."""
    found = {}
    for page in PAGES:
        paths = [FIGURES / profile / page.name / "ledger.json" for profile in profiles]
        path = next((path for path in paths if path.exists()), None)
        if path:
            found[page.name] = read_ledger(path)
    return found


def status(found: dict[str, Ledger]) -> pd.DataFrame:
    """One row a page: source, what it reproduces, and how its claims fared."""
    rows = []
    for page in PAGES:
        book = found.get(page.name)
        state = "not written yet" if not page.written else "written, not measured"
        if book:
            count = Counter(claim.verdict for claim in book.claims)
            state = ", ".join(f"{n} {verdict}" for verdict, n in count.most_common()) or "run"
        data = ", ".join(book.header["data"]) if book else "–"
        device = book.header["device"] if book else "–"
        rows.append([page.name, page.source, page.reproduces, state, book.profile if book else "–", device, data])
    return pd.DataFrame(rows, columns=["page", "source", "reproduces", "claims", "profile", "device", "data"])


def claims(found: dict[str, Ledger]) -> pd.DataFrame:
    """Every claim of the book."""
    return stacked(found, lambda book: claims_frame(book.claims) if book.claims else None)


def records(found: dict[str, Ledger]) -> pd.DataFrame:
    """Every printed number with ours beside it."""
    return stacked(found, lambda book: records_frame(book.records) if book.records else None)


def stacked(found: dict[str, Ledger], frame_of: Callable[[Ledger], pd.DataFrame | None]) -> pd.DataFrame:
    """The pages' frames one under the other, with source, page, profile and device in front."""
    sources = {page.name: page.source for page in PAGES}
    frames = []
    for name, book in found.items():
        frame = frame_of(book)
        if frame is not None:
            frame.insert(0, "device", book.header["device"].split(" ")[0])
            frame.insert(0, "profile", book.profile)
            frame.insert(0, "page", name[:2])
            frame.insert(0, "source", sources[name])
            frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def markdown_table(frame: pd.DataFrame) -> str:
    """A frame as a Markdown table."""
    lines = [list(map(str, frame.columns)), ["---"] * len(frame.columns), *frame.astype(str).values.tolist()]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)


def sections(found: dict[str, Ledger], profiles: Iterable[str]) -> list[tuple[str, str, pd.DataFrame]]:
    """(title, explanation, table) of each part of the scoreboard."""
    parts = [("Pages", REHEARSAL if "smoke" in profiles else REAL, status(found))]
    table, numbers = claims(found), records(found)
    if len(table):
        parts += [(f"Claims: {name}", VERDICTS, group) for name, group in table.groupby("source", sort=False)]
    if len(numbers):
        groups = numbers.groupby(["source", "item"], sort=False)
        parts += [(f"Paper against ours: {source}, {item}", NUMBERS, group) for (source, item), group in groups]
    return parts


def build(profile: str | None = None) -> Path:
    """Write scoreboard.html and .md: of one profile, or (None) of the best evidence. Returns the HTML's path."""
    profiles = [profile] if profile else EVIDENCE
    folder = FIGURES / profile if profile else FIGURES
    parts = sections(ledgers(profiles), profiles)
    text = "# Scoreboard\n\n" + "\n\n".join(f"## {t}\n\n{note}\n\n{markdown_table(f)}" for t, note, f in parts) + "\n"
    body = "".join(
        f"<h2>{html.escape(title)}</h2><p>{html.escape(note)}</p>{frame.to_html(index=False, border=0)}"
        for title, note, frame in parts
    )
    head = f"<!doctype html><meta charset='utf-8'><title>Scoreboard</title><style>{STYLE}</style><h1>Scoreboard</h1>"
    for name, content in (("scoreboard.md", text), ("scoreboard.html", head + body)):
        with atomic(folder / name) as scratch:
            scratch.write_text(content, encoding="utf-8")
    return folder / "scoreboard.html"


def summary(profile: str) -> str:
    """The scoreboard in a few lines for the terminal."""
    found = ledgers([profile])
    lines = [f"Scoreboard, profile {profile}" + (" (a rehearsal on embedded data)" if profile == "smoke" else "")]
    for name, book in found.items():
        count = Counter(claim.verdict for claim in book.claims)
        verdicts = ", ".join(f"{n} {verdict}" for verdict, n in count.most_common()) or "no claims"
        numbers = f"; {len(book.records)} printed numbers beside ours" if book.records else ""
        lines.append(f"  {name:<20} {verdicts}{numbers}")
    return "\n".join(lines)

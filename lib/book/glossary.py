"""The glossary: its terms, and the abbreviations that a page's prose uses."""

import re

from lib.paths import ROOT

FILE = ROOT / "GLOSSARY.md"
ROMAN = re.compile(r"[IVXL]+")  # the numbers of tables and sections
# what is no prose: formulas, code, the targets of links, bare addresses, comments
SKIPPED = re.compile(r"\$\$.*?\$\$|\$[^$\n]*\$|```.*?```|`[^`]*`|\]\([^)]*\)|https?://\S+|<[^>]*>", re.DOTALL)
ABBREVIATION = re.compile(r"(?<![A-Za-z])[A-Z]{2,}(?=s?(?![a-z]))")


def terms() -> dict[str, str]:
    """Every term of the glossary and its explanation, in order."""
    text = FILE.read_text(encoding="utf-8")
    parts = re.split(r"^### (.+)$", text, flags=re.MULTILINE)
    return {
        name.strip(): re.split(r"^## ", body, flags=re.MULTILINE)[0].strip()
        for name, body in zip(parts[1::2], parts[2::2], strict=True)
    }


def anchor(term: str) -> str:
    """The anchor of a term's heading, as GitHub and the HTML book make it."""
    return re.sub(r"[^\w\- ]", "", term.lower()).replace(" ", "-")


def abbreviations(prose: str) -> set[str]:
    """The abbreviations, two capitals or more, in Markdown; not in formulas, code, links' targets or references."""
    text = SKIPPED.sub(" ", re.split(r"^## References", prose, flags=re.MULTILINE)[0])
    return {found for found in ABBREVIATION.findall(text) if not ROMAN.fullmatch(found)}


def explained() -> set[str]:
    """The abbreviations that are terms of the glossary, or parts of one."""
    return {found for term in terms() for found in ABBREVIATION.findall(term)}

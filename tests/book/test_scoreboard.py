import pytest

from lib.book import scoreboard
from lib.book.ledger import Claim, Ledger, Record


@pytest.fixture
def figures(tmp_path, monkeypatch):
    monkeypatch.setattr(scoreboard, "FIGURES", tmp_path)
    return tmp_path


def store(figures, profile, verdict, page="01_subspace_noise"):
    book = Ledger(page, profile, {"device": f"cpu ({profile})", "data": ["lfw"]})
    book.claims.append(Claim("pin-1", "top | bottom <b>", 0.5, (0.4, 0.6), "< 1", verdict))
    book.records.append(Record("pin", "Table XV", "none", "PGD", "EER %", 99.71, 94.5, (92.0, 97.0), 400, "", "lower"))
    book.write(figures / profile / page / "ledger.json")


def test_the_best_profile_wins_and_smoke_is_no_evidence(figures):
    store(figures, "smoke", "replicated")
    assert not scoreboard.ledgers(scoreboard.EVIDENCE)
    store(figures, "laptop", "partly")
    store(figures, "gpu", "not replicated")
    assert scoreboard.ledgers(scoreboard.EVIDENCE)["01_subspace_noise"].profile == "gpu"


def test_both_files_hold_every_number_and_escape_text(figures):
    store(figures, "laptop", "partly")
    path = scoreboard.build()
    markdown = path.with_suffix(".md").read_text()
    page = path.read_text()
    for text in (markdown, page):
        assert all(word in text for word in ("99.71", "94.5", "92 to 97", "partly", "laptop", "Table XV"))
    assert "<b>" not in page.split("</style>")[1].replace("<b>", "", 0) or "&lt;b&gt;" in page
    assert "top / bottom" in markdown


def test_a_page_that_was_not_written_says_so(figures):
    table = scoreboard.status({})
    assert (table.set_index("page").loc["19_astra", "claims"]) == "not written yet"


def test_summary_and_rehearsal(figures):
    store(figures, "smoke", "replicated")
    text = scoreboard.summary("smoke")
    assert "rehearsal" in text
    assert "1 replicated" in text
    assert "no evidence on the sources" in scoreboard.build("smoke").read_text()

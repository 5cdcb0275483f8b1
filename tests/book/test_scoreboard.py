import pytest

from lib.book import scoreboard
from lib.book.ledger import JudgedClaim, Ledger, Record


@pytest.fixture
def figures(tmp_path, monkeypatch):
    monkeypatch.setattr(scoreboard, "FIGURES", tmp_path)
    return tmp_path


def made(verdict, kind="source"):
    text = "top | bottom <b>"
    return JudgedClaim(f"{kind}-1", kind, text, "spread", "< 1", 0.0, "it was '> 2'", 0.5, (0.4, 0.6), 9, verdict)


def store(figures, profile, verdict, page="01_subspace_noise"):
    book = Ledger(page, profile, {"device": f"cpu ({profile})", "data": ["lfw"]})
    book.claims += [made(verdict), made("supported", "critique"), made("passed", "check")]
    book.records.append(Record("pin", "Table XV", "none", "PGD", "EER %", 99.71, 94.5, (92.0, 97.0), 400, "", "lower"))
    book.write(figures / profile / page / "ledger.json")


def test_the_best_profile_wins_and_smoke_is_no_evidence(figures):
    store(figures, "smoke", "replicated")
    assert not scoreboard.ledgers(scoreboard.EVIDENCE)
    store(figures, "laptop", "undecided")
    store(figures, "gpu", "not replicated")
    assert scoreboard.ledgers(scoreboard.EVIDENCE)["01_subspace_noise"].profile == "gpu"


def test_the_headline_counts_claims_of_sources_alone(figures):
    store(figures, "laptop", "undecided")
    store(figures, "laptop", "replicated", "02_pca_toy")
    found = scoreboard.ledgers(["laptop"])
    assert scoreboard.headline(found) == "2 claims of the sources: 1 replicated, 1 undecided"


def test_the_web_page_holds_every_number_and_escapes_text(figures):
    store(figures, "laptop", "undecided")
    page = scoreboard.build().read_text()
    for text in ("99.71", "94.5", "[92, 97]", "undecided", "Table XV", "it was &#x27;&gt; 2&#x27;", "&lt;b&gt;"):
        assert text in page
    assert page.index("claims of the sources</b>") < page.index("critiques of ours</b>") < page.index("99.71")
    assert "notebooks/01_subspace_noise.ipynb" in page


def test_the_short_one_lists_the_sources_claims(figures):
    store(figures, "laptop", "replicated")
    text = scoreboard.build().with_suffix(".md").read_text()
    assert "top / bottom" in text
    assert "source-1" in text
    assert "check-1" not in text
    assert "99.71" not in text


def test_a_page_that_was_not_written_says_so(figures):
    table = scoreboard.status({})
    assert table.set_index("page").loc["19_astra", "claims of the source"] == "not written yet"


def test_a_rehearsal_has_no_verdicts(figures):
    store(figures, "smoke", "not replicated")
    text = scoreboard.summary("smoke")
    assert "ran" in text
    assert "rehearsal" in text
    assert "not replicated" not in text
    assert "no evidence on the sources" in scoreboard.build("smoke").read_text()

"""The printed numbers: spot values read by hand, the book's items all there, and the sources' own arithmetic."""

import math

import pandas as pd
import pytest

from lib.errors import WorkbookError
from lib.papers import all_printed, printed, sources, table

ROMAN = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII", "XIII", "XIV", "XV"]
UNITS = {
    "EER %", "100 - EER %", "error %", "accuracy %", "AUC %", "TAR %", "TPR %", "FNR %", "F1 %", "%", "points", "MSE",
    "cosine", "L2", "overlap", "count", "channels", "pixels", "epochs", "hours", "seconds", "GFLOP", "million weights",
    "weight", "coefficient",
}  # fmt: skip
# What the map of the book promises, page by page.
DESIGN = {
    "pin": [f"Fig {i}" for i in (2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14)] + [f"Table {i}" for i in ROMAN],
    "acl_triplet": ["Algorithm 1", "Algorithm 2", "Fig 3", "Fig 4", "Fig 5"],
    "dar_sfrl": [f"Fig {i}" for i in range(1, 9)] + [f"Table {i}" for i in range(1, 9)],
    "ancra": [f"Fig {i}" for i in (1, 3, 4, 5, 6, 7, 8, 9)] + [f"Table {i}" for i in ROMAN[:10]],
    "robust_ssl": [
        "JEAM families",
        "ImageNet-C",
        "ImageNet-PD",
        "Moebius code",
        "LCM code",
        "Self-AT SLF",
        "ASTrA SLF",
    ],
}
DESIGN["robust_ssl"][-1] = "ASTrA framework"
SPOT = [
    ("pin", "Table IV", "offline / PIN", "PGD", 29.77, "EER %"),
    ("pin", "Table IV", "online / Adv. MTER", "FGSM", 69.21, "EER %"),
    ("pin", "Table V", "offline / MagNet", "DeepFool", 23.95, "EER %"),
    ("pin", "Table VI", "impersonation / none", "10000 queries", 5.9e-5, "MSE"),
    ("pin", "Table VII", "dodging / PIN", "5000 queries", 8.4e-2, "MSE"),
    ("pin", "Table VIII", "PIN", "online", 7.2, "error %"),
    ("pin", "Table IX", "PIN + Face++", "TAR@FAR=1%", 63.81, "TAR %"),
    ("pin", "Table X", "CFP-FP / online / PIN", "PGD", 79.25, "EER %"),
    ("pin", "Table XI", "online / PIN", "I-FGSM", 26.73, "EER %"),
    ("pin", "Table XII", "transfer / PIN", "DI2-FGSM", 6.81, "EER %"),
    ("pin", "Table XIII", "online / PIN", "FGSM at 0.3", 98.57, "error %"),
    ("pin", "Table XIV", "BPDA / PIN", "PGD", 68.19, "EER %"),
    ("pin", "Table XV", "offline / PCA-200", "PGD", 22.93, "EER %"),
    ("acl_triplet", "Fig 4", "contrastive pre-training + triplet AT", "RA", 84.3, "accuracy %"),
    ("dar_sfrl", "Table 5", "LSTM", "DIFGSM", 61.77, "accuracy %"),
    ("dar_sfrl", "Table 3", "DAR-SFRL", "UPGD", 51.20, "F1 %"),
    ("dar_sfrl", "Table 8", "RoCL", "inference time", 13.10, "seconds"),
    ("ancra", "Table II", "CIFAR-100 / MART-ANCRA", "C&W", 59.41, "accuracy %"),
    ("ancra", "Table VII", "MIM-100 / TRADES", "MART", 60.21, "accuracy %"),
    ("ancra", "Table X", "final P'", "Adaptive PGD", 62.24, "accuracy %"),
    ("robust_ssl", "ImageNet-C", "SwAV", "fog", 79.3, "error %"),
    ("robust_ssl", "Self-AT SLF", "STL-10 / DynACL-AIR", "AA", 47.66, "accuracy %"),
    ("robust_ssl", "ASTrA semi-supervised", "30 % labels / ACL", "AA", 46.53, "accuracy %"),
]


@pytest.fixture(scope="module")
def everything() -> pd.DataFrame:
    return all_printed()


@pytest.mark.parametrize(("source", "item", "row", "column", "value", "unit"), SPOT)
def test_spot_values(source, item, row, column, value, unit):
    found = printed(source, item, row, column)
    assert (found.value, found.unit) == (value, unit)


def test_the_sources_own_interval_is_kept():
    assert printed("pin", "Table V", "online / PIN", "PGD").interval == 3.11
    assert printed("pin", "Table IV", "online / PIN", "PGD").interval is None


def test_no_cell_twice_and_every_value_a_number(everything):
    assert not everything.duplicated(["source", "item", "row", "column"]).any()
    assert everything["value"].map(math.isfinite).all()
    assert set(everything["source"]) == set(sources())


def test_spelling_is_consistent(everything):
    names = everything[["item", "row", "column", "unit"]].stack()
    assert (names == names.str.strip()).all()
    assert (names != "").all()
    assert set(everything["unit"]) <= UNITS
    for kind in ("row", "column", "item"):
        for _, group in everything.groupby("source"):
            spellings = pd.Series(group[kind].unique())
            assert not spellings.str.casefold().str.replace(" ", "").duplicated().any()
    slashes = everything["row"].str.contains("/") & ~everything["row"].str.contains(" / ")
    assert not slashes.any()


def test_percentages_lie_between_0_and_100(everything):
    percent = everything[everything["unit"].str.endswith("%")]
    assert percent["value"].between(0, 100).all()


@pytest.mark.parametrize("source", list(DESIGN))
def test_every_item_of_the_map_is_there(source, everything):
    items = {entry["item"]: entry["page"] for entry in sources()[source]["items"]}
    assert set(DESIGN[source]) <= set(items)
    rows = everything[everything["source"] == source]
    assert set(rows["item"]) <= set(items)
    pages = {name[:2] for name in sources()[source]["notebooks"]}
    assert set(items.values()) == pages
    assert (rows["note"].str[:7] == "page " + rows["item"].map(items)).all()


def test_an_unknown_name_offers_near_ones():
    with pytest.raises(WorkbookError, match="Table IV"):
        printed("pin", "Tabel IV", "offline / PIN", "PGD")
    with pytest.raises(WorkbookError, match="offline / PIN"):
        printed("pin", "Table IV", "offline / PINN", "PGD")
    with pytest.raises(WorkbookError, match="offline / PIN, online / PIN"):
        printed("pin", "Table IV", "PIN", "PGD")
    with pytest.raises(WorkbookError, match="DeepFool"):
        printed("pin", "Table IV", "offline / PIN", "Deepfool")
    with pytest.raises(WorkbookError, match="acl_triplet"):
        all_printed("acl")


def test_a_table_keeps_the_order_of_the_source():
    wide = table("pin", "Table IV")
    assert wide.shape == (15, 4)
    assert list(wide.columns) == ["clean", "FGSM", "DeepFool", "PGD"]
    assert wide.index[0] == "offline / none"
    assert wide.index[-1] == "online / PIN"
    assert math.isnan(table("pin", "Table VIII").loc["TVM", "online"])


def test_reading_cannot_change_the_stored_numbers():
    numbers = all_printed("pin")
    numbers["value"] = 0.0
    assert printed("pin", "Table XI", "online / PIN", "FGSM").value == 14.51


# ---- the sources' arithmetic


def test_pin_tables_repeat_each_other():
    fourth, fifteenth = table("pin", "Table IV"), table("pin", "Table XV")
    assert (fourth.loc[["offline / PIN", "online / PIN"]] == fifteenth.loc[["offline / PIN", "online / PIN"]]).all(None)
    assert (fourth.loc["offline / none"] == fourth.loc["online / none"]).all()
    assert table("pin", "Table XI").loc["online / PIN", "FGSM"] == fourth.loc["online / PIN", "FGSM"]
    assert table("pin", "Table XIV").loc["Orig / PIN", "PGD"] == fourth.loc["online / PIN", "PGD"]
    shared = ["clean", "FGSM", "PGD"]
    assert (
        table("pin", "Table X").loc["MegaFace / none", shared] == table("pin", "Table V").loc["offline / none", shared]
    ).all()


def test_clean_eer_does_not_depend_on_the_protocol():
    for item in ("Table IV", "Table V", "Table XV"):
        clean = table("pin", item)["clean"]
        for row in clean.index[clean.index.str.startswith("online")]:
            assert clean[row] == clean[row.replace("online", "offline")]


def test_talfw_gains_of_the_text():
    eer = table("pin", "Table IX")["100-EER"]
    apis = ["Amazon", "Microsoft", "Baidu", "Face++"]
    gain = sum(eer[f"PIN + {name}"] - eer[name] for name in apis) / 4
    assert gain == pytest.approx(printed("pin", "Text V-D", "mean of the four APIs", "EER gain").value, abs=0.011)
    assert eer["PIN + ArcFace"] - eer["ArcFace"] == pytest.approx(30.43, abs=0.005)


def test_error_grows_with_the_bound():
    errors = table("pin", "Table XIII").loc["online / PIN"]
    assert errors.is_monotonic_increasing
    assert errors.iloc[-1] == 100


def test_megaface_counts_fit_ordered_pairs():
    count = table("pin", "Text V-B").loc["MegaFace"]
    images = count["identities"] * count["images per identity"]
    assert count["identities"] * 10 * 9 == count["genuine pairs"]
    assert images * (images - 1) - count["genuine pairs"] == count["impostor pairs"]


def test_acl_triplet_identities_and_joint_accuracy():
    count = table("acl_triplet", "Text 4.1").loc["CelebA"]
    assert count["training"] + count["validation"] == count["remaining"]
    for item in ("Fig 4", "Fig 5"):
        wide = table("acl_triplet", item)
        gap = (wide["SA"] + wide["RA"]) / 2 - wide["S&R"]
        assert gap.abs().max() == pytest.approx(1.9, abs=0.01)


def test_dar_accuracy_and_drop_add_up_to_clean():
    checked = 0
    for item in ("Table 1", "Table 2", "Table 3", "Table 5"):
        wide = table("dar_sfrl", item)
        for column in wide.columns[~wide.columns.str.endswith("drop") & (wide.columns != "w/o")]:
            both = (wide[column] + wide[f"{column} drop"] - wide["w/o"]).dropna()
            assert both.abs().max() < 0.006
            checked += len(both)
    assert checked == 7 + 1 + 1 + 28 + 1


def test_dar_ablations_follow_from_the_text():
    stages = table("dar_sfrl", "Table 7")
    assert (stages["w/o"] + stages["w/o below k = 3"].fillna(0)).round(2).eq(67.14).all()
    losses = table("dar_sfrl", "Table 6")
    before = [67.14, *losses["w/o"][:-1]]
    assert (losses["w/o"] + losses["w/o below the previous variant"]).round(2).tolist() == before
    assert table("dar_sfrl", "Fig 7")["overlap"].is_monotonic_increasing


def test_dar_table_5_matches_the_ranges_of_the_text():
    wide = table("dar_sfrl", "Table 5")
    drops = wide.loc[:, wide.columns.str.endswith("drop")]
    assert (drops.loc["LSTM"].min(), drops.loc["LSTM"].max()) == (0.82, 2.32)
    assert (drops.loc["Transformer"].min(), drops.loc["Transformer"].max()) == (2.01, 2.45)
    assert wide.loc["ResNet", "w/o"] - wide.loc["CNN", "w/o"] == pytest.approx(2.28)


def test_ancra_averages():
    wide = table("ancra", "Table II").drop(index="all")
    mean = wide[["PGD", "FGSM", "C&W", "AA"]].mean(axis=1)
    gap = (mean - wide["AVG"]).dropna()
    assert gap.pop("CIFAR-100 / AWP") == pytest.approx(0.9975)  # the paper's slip, said in the note
    assert gap.abs().max() < 0.011
    assert len(gap) == 25


def test_ancra_tables_repeat_each_other():
    white, adaptive, parts = (table("ancra", f"Table {n}") for n in ("II", "V", "VIII"))
    shared = ["PGD", "FGSM", "C&W"]
    for data in ("CIFAR-10", "CIFAR-100"):
        assert (adaptive.loc[f"{data} / TRADES", shared] == white.loc[f"{data} / TRADES", shared]).all()
    assert (parts.loc["TRADES-ANCRA", shared] == adaptive.loc["CIFAR-10 / TRADES-ANCRA", shared]).all()
    bench = table("ancra", "Table IV")
    for name in ("PGD-AT-ANCRA", "TRADES-ANCRA", "MART-ANCRA"):
        assert (bench.loc[name] == white.loc[f"CIFAR-10 / {name}", ["Nat", "AA"]]).all()


def test_ancra_gains_of_the_text():
    text, white, transfer = (table("ancra", item) for item in ("Text IV-C", "Table II", "Table VII"))
    for name in ("PGD-AT", "TRADES", "MART"):
        gain = white.loc[f"CIFAR-10 / {name}-ANCRA"] - white.loc[f"CIFAR-10 / {name}"]
        assert gain["PGD"] == pytest.approx(text.loc[f"CIFAR-10 / {name}-ANCRA", "PGD gain"], abs=0.06)
        mim = transfer.loc["MIM-100 / TRADES-ANCRA", "PGD-AT"] - transfer.loc[f"MIM-100 / {name}", "PGD-AT"]
        assert mim == pytest.approx(text.loc[f"CIFAR-10 / TRADES-ANCRA over {name}", "MIM gain"], abs=0.005)
    wide = table("ancra", "Table VI")
    assert wide.loc["WRN-34-10 / TRADES-ANCRA", "AA"] - wide.loc["WRN-34-10 / TRADES", "AA"] == pytest.approx(1.20)


def test_imagenet_c_means():
    wide = table("robust_ssl", "ImageNet-C")
    assert wide.shape == (8, 21)
    assert (wide.drop(columns=["clean", "mean"]).mean(axis=1) - wide["mean"]).abs().max() < 0.06

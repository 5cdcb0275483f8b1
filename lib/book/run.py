"""The page object: settings, device, seed, folders; figures, tables, records and claims of one page.

run = start("01_subspace_noise", profile=profile, device=device, seed=seed, data=data, overrides=overrides)
"""

import ast
import dataclasses
import os
import platform
import random
import re
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import HTML, Markdown, display
from matplotlib.figure import Figure

from lib import cache
from lib.book import ledger, plots, tables
from lib.book.answer import answer_box
from lib.book.contents import PROFILES
from lib.book.ledger import Ledger, Record
from lib.errors import WorkbookError, choices
from lib.interval import Interval
from lib.papers import printed, registered_claim
from lib.paths import FIGURES, NOTEBOOKS, RUNS, atomic

PARAMETERS = ("profile", "device", "seed", "data", "overrides")
VERSIONS = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "torchattacks", "robust-faces-workbook")


def start(
    page: str,
    *,
    profile: str = "laptop",
    device: str = "auto",
    seed: int = 0,
    data: str = "auto",
    overrides: Mapping[str, Any] | None = None,
) -> "Run":
    """Open a page: check its parameters, choose the device, seed everything, print the banner.

    page: the notebook's name without ending. device: 'auto', 'cpu' or 'cuda' ('cuda:1' for a certain one).
    data: 'auto' (the page's own set; at smoke the embedded default), 'embedded', or the name of a set of `lib.data`.
    overrides: values that replace entries of the page's scale table.
    """
    refuse_unknown_parameters()
    if profile not in PROFILES:
        raise WorkbookError(f"There is no profile '{profile}': choose one of {choices(PROFILES)}.")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise WorkbookError(f"The seed is a whole number from 0 on, not {seed!r}.")
    if not isinstance(overrides or {}, Mapping):
        raise WorkbookError(f"overrides is a dict such as {{'pairs': 100}}, not {overrides!r}.")
    run = Run(page, profile, choose_device(device), seed, data, dict(overrides or {}))
    seed_everything(seed)
    plots.use_style()
    run.banner()
    return run


def refuse_unknown_parameters() -> None:
    """Raise for a parameter that papermill injected and no page knows (papermill itself only warns)."""
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    cells = shell.user_ns.get("In", []) if shell else []
    for cell in cells:
        if str(cell).startswith("# Parameters\n"):  # the header of the cell that papermill adds
            names = [t.id for node in ast.parse(cell).body if isinstance(node, ast.Assign) for t in node.targets]
            for name in names:
                if name not in PARAMETERS:
                    raise WorkbookError(f"There is no parameter '{name}': a page takes {choices(PARAMETERS)}.")


def choose_device(name: str) -> torch.device:
    """'auto' takes CUDA when there is one; asking for CUDA where there is none is an error."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", str(name)):
        raise WorkbookError(f"There is no device '{name}': choose auto, cpu or cuda.")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise WorkbookError(f"device='{name}' was asked for, but torch finds no such GPU: use device='auto' or 'cpu'.")
    return device


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch, and keep cuDNN to repeatable algorithms."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def device_name(device: torch.device) -> str:
    """The device in words, for the banner and the ledger."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that numbers depend on."""
    found = {"python": platform.python_version()}
    for name in VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def per_profile(smoke: object, laptop: object, gpu: object, paper: object) -> dict[str, object]:
    """A knob of `Run.scale`: its value in each profile."""
    return dict(zip(PROFILES, (smoke, laptop, gpu, paper), strict=True))


def check_kind(name: str, given: object, usual: object) -> None:
    """Raise for an override that is no value of the kind that a knob usually has: a whole number for a whole number.

    A whole number may stand for a fraction; of a list, every entry is looked at.
    """
    if isinstance(usual, list | tuple):
        if not isinstance(given, list | tuple):
            raise WorkbookError(f"The override '{name}' is a list such as {usual!r}, not {given!r}: change it.")
        for entry in given:
            check_kind(name, entry, usual[0])
        return
    kinds = (int, float) if isinstance(usual, float) else (type(usual),)
    if type(given) not in kinds:
        words = {int: "a whole number", float: "a number", str: "a word", bool: "True or False"}
        kind = words.get(type(usual), f"a {type(usual).__name__}")
        raise WorkbookError(f"The override '{name}' is {kind} such as {usual!r}, not {given!r}: change it.")


@dataclasses.dataclass
class Run:
    """One run of one page. Made by `start`."""

    page: str
    profile: str
    device: torch.device
    seed: int
    data: str
    overrides: dict[str, Any]

    def __post_init__(self) -> None:
        changed = self.overrides or self.data != "auto" or self.seed
        base = RUNS / "custom" if changed else FIGURES  # figures/ holds only what a page measures as it stands
        self.folder: Path = base / self.profile / self.page
        self.ledger = Ledger(self.page, self.profile)
        self.ledger.header = {
            "seed": self.seed,
            "device": device_name(self.device),
            "versions": versions(),
            "data": [],
            "models": [],
            "scale": {},
            "overrides": {key: str(value) for key, value in self.overrides.items()},
        }

    @property
    def smoke(self) -> bool:
        """Whether this is the rehearsal on embedded data."""
        return self.profile == "smoke"

    def banner(self) -> None:
        """Print what a number of this page depends on."""
        shown = ", ".join(f"{name} {number}" for name, number in list(self.ledger.header["versions"].items())[:4])
        asked = {"auto": "the embedded default" if self.smoke else "the page's real sets"}.get(self.data, self.data)
        print(f"{self.page} · profile {self.profile} · seed {self.seed}\ndevice: {device_name(self.device)}")
        print(f"data: {asked}\nversions: {shown}")

    def uses(self, kind: str, name: str) -> None:
        """Note, and say, that this page uses a data set (kind 'data') or a model ('models'), or where it was trained.

        The last is of kind 'trainings', for those that may come from another machine.
        """
        noted = self.ledger.header.setdefault(kind, [])
        if name not in noted:
            noted.append(name)
            print(f"trained on {name}" if kind == "trainings" else f"uses {name}")

    def scale(self, **knobs: Mapping[str, Any]) -> SimpleNamespace:
        """Show the page's scale table (one column a profile) and return this profile's values, overrides applied."""
        unknown = set(self.overrides) - set(knobs)
        if unknown:
            raise WorkbookError(f"There is no override '{min(unknown)}' on this page: it knows {choices(list(knobs))}.")
        for name, row in knobs.items():
            if set(row) != set(PROFILES):
                raise WorkbookError(f"The scale of '{name}' needs one value for each of {choices(PROFILES)}.")
        for name, value in self.overrides.items():
            check_kind(name, value, knobs[name][self.profile])
        chosen = {name: self.overrides.get(name, row[self.profile]) for name, row in knobs.items()}
        self.ledger.header["scale"] |= {name: str(value) for name, value in chosen.items()}
        rows = [{"knob": name, **row, "this run": chosen[name]} for name, row in knobs.items()]
        frame = pd.DataFrame(rows, dtype=object)  # else one fraction turns the whole numbers of its column into 16.0
        show_table(frame.astype(str), f"Scale of this page; this run is profile {self.profile}.")
        return SimpleNamespace(**chosen)

    def kept(self, function: Callable, *args: Any, **settings: Any) -> Any:
        """An expensive result, computed once: see `lib.cache.kept`."""
        return cache.kept(function, *args, where=self.device.type, **settings)

    def answer(self) -> None:
        """Show the answer first: the box of five lines, filled from the page's last ledger of this profile."""
        display(HTML(answer_box(self.page, self.profile, self.folder)))

    def figure(self, figure: Figure, name: str, caption: str, photograph: bool | None = None) -> None:
        """Save the figure as `<folder>/<name>.svg` (.png where it holds a photograph), show it with its caption.

        The caption is also the text for those who cannot see it. photograph: None looks for pictures in its axes.
        """
        display(plots.shown(figure, self.folder / name, caption, photograph))
        plt.close(figure)
        display(Markdown(f"*{caption}*"))

    def table(self, frame: pd.DataFrame, name: str, caption: str, decimals: int | None = 3, full: bool = False) -> None:
        """Save the table as `<folder>/<name>.csv` and show its first ten rows, with a link to the rest; or all."""
        path = self.folder / f"{name}.csv"
        with atomic(path) as scratch:
            frame.to_csv(scratch, index=False, float_format="%.6g")
        if full or len(frame) <= tables.FIRST:
            show_table(frame, caption, decimals)
        else:
            link = f'<a href="{os.path.relpath(path, NOTEBOOKS)}">{name}.csv</a>'
            below = f"The first {tables.FIRST} of {len(frame)} rows; all of them: {link} (or full=True)."
            show_table(frame.head(tables.FIRST), caption, decimals, below)

    def say(self, text: str) -> None:
        """A sentence of the page that holds measured numbers (so that no number in prose is typed)."""
        display(Markdown(text))

    def record(
        self,
        source: str,
        item: str,
        cell: tuple[str, str],
        ours: Interval | float | None,
        setting: str = "",
        note: str = "",
    ) -> None:
        """Put our number beside the one printed in `cell` (row, column) of the source's `item` (see `lib.papers`).

        ours: an interval; a plain number where nothing was drawn (a size, a count); None: not testable here, say why.
        """
        paper = printed(source, item, *cell)
        interval = (ours.low, ours.high) if isinstance(ours, Interval) else None
        n = ours.n or None if isinstance(ours, Interval) else None
        value = ours.estimate if isinstance(ours, Interval) else ledger.finite(ours, f"{item} {' '.join(cell)}")
        if value is None and not note:
            raise WorkbookError(f"{item} {' '.join(cell)} has no number of ours: give the reason in `note`.")
        verdict = ledger.compare(paper.value, value, interval)
        entry = Record(source, item, *cell, paper.unit, paper.value, value, interval, n, setting, verdict, note)
        self.ledger.records.append(entry)

    def claim(self, id: str, interval: Interval | None, note: str = "") -> None:
        """Judge a claim of `lib/papers/claims.toml` by its interval. None: not testable here, say why in `note`."""
        claim = registered_claim(id)
        if claim.page != self.page[:2]:
            raise WorkbookError(f"Claim {id} is registered for page {claim.page}: judge it there, or register it here.")
        if any(judged.id == id for judged in self.ledger.claims):
            raise WorkbookError(f"Claim {id} is judged twice on this page: give each claim its own id.")
        self.ledger.claims.append(ledger.judged_claim(claim, interval, note))

    def finish(self) -> None:
        """Show the claims with their verdicts, the sources' tables with our numbers in them, and write the ledger."""
        if self.ledger.claims:
            display(HTML(tables.claims_table(self.ledger.claims)))
        if self.ledger.records:
            with atomic(self.folder / "paper_against_ours.csv") as scratch:
                tables.records_frame(self.ledger.records).to_csv(scratch, index=False, float_format="%.6g")
            display(HTML(tables.source_tables(self.ledger.records)))
        self.ledger.write(self.folder / "ledger.json")
        where = "figures" if FIGURES in self.folder.parents else "runs/custom"
        print(f"ledger written: {where}/{self.profile}/{self.page}/ledger.json")


def show_table(frame: pd.DataFrame, caption: str, decimals: int | None = 3, below: str = "") -> None:
    """Show a table with its caption above, plainly enough for every viewer of notebooks."""
    display(HTML(tables.frame_table(frame, caption, decimals, below)))

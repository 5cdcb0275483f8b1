"""The book's one figure style, and the few kinds of picture that its pages share.

Colours are Okabe and Ito's, which people with any common colour blindness tell apart; nothing is told by colour alone.
"""

import base64
import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from PIL import Image
from torch import Tensor

from lib.paths import atomic

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PURPLE = [
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
]
COLOURS = [BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
WIDTH = 8.0  # inches, the width of a page's figure
MAX_BYTES = 200_000  # of a picture on disk
STYLE = {
    "figure.dpi": 110,
    "savefig.dpi": 110,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "image.cmap": "viridis",
    "image.interpolation": "nearest",
}


def use_style() -> None:
    """Make the book's style matplotlib's default for this session."""
    plt.rcParams.update(STYLE)


def holds_photograph(figure: Figure) -> bool:
    """Whether one of its axes shows a picture (imshow), which a vector file would only wrap."""
    return any(axis.images for axis in figure.axes)


def legend_sizes(figure: Figure) -> dict[str, float]:
    """The smallest text in points and the most entries of the figure's legends; what the page's limits look at."""
    legends = [legend for part in (figure, *figure.axes) for legend in part.findobj(Legend)]
    texts = [text.get_fontsize() for legend in legends for text in legend.get_texts()]
    entries = [len(legend.get_texts()) for legend in legends]
    return {"legend_points": float(min(texts, default=STYLE["font.size"])), "legend_entries": max(entries, default=0)}


def shown(figure: Figure, path: Path, caption: str, photograph: bool | None = None) -> HTML:
    """Save the figure beside `path` as SVG, or as PNG where it holds a photograph, and return it for display."""
    photograph = holds_photograph(figure) if photograph is None else photograph
    save = save_png if photograph else save_svg
    data = save(figure, path.with_suffix(".png" if photograph else ".svg"))
    path.with_suffix(".svg" if photograph else ".png").unlink(missing_ok=True)  # of an earlier run
    return as_html(figure, caption, data, "png" if photograph else "svg+xml")


def as_html(figure: Figure, caption: str, data: bytes | None = None, kind: str = "svg+xml") -> HTML:
    """A figure, as drawn or as the bytes of a picture, in an <img> with its caption as text for those who cannot see.

    So and not as a bare picture, for JupyterLab shows no SVG in a notebook that it does not trust and gives PNGs no
    text.
    """
    encoded = base64.b64encode(_svg(figure) if data is None else data).decode()
    text = html.escape(re.sub(r"[*_`$]", "", caption))
    width = round(figure.get_figwidth() * STYLE["figure.dpi"])
    style = "max-width: 100%; background-color: #ffffff"
    picture = f'<img alt="{text}" width="{width}" style="{style}" src="data:image/{kind};base64,{encoded}">'
    return HTML(picture, metadata=legend_sizes(figure))


def save_svg(figure: Figure, path: Path) -> bytes:
    """Write an SVG, the same bytes for the same figure, and return them; clouds of points become pixels if it must."""
    with plt.rc_context({"svg.hashsalt": path.stem}):
        data = _svg(figure)
        if len(data) > MAX_BYTES:
            for artist in (part for axis in figure.axes for part in (*axis.collections, *axis.lines)):
                artist.set_rasterized(True)
            data = _svg(figure)
    with atomic(path) as scratch:
        scratch.write_bytes(data)
    return data


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def save_png(figure: Figure, path: Path) -> bytes:
    """Write a PNG of at most 200 kB (fewer colours, then fewer pixels, if it must) and return its bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    picture = Image.open(buffer).convert("RGB")
    data = buffer.getvalue()
    while len(data) > MAX_BYTES:
        buffer = io.BytesIO()
        picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
            buffer, "PNG", optimize=True
        )
        data = buffer.getvalue()
        factor = min(0.9, math.sqrt(MAX_BYTES / len(data)))  # far too heavy: one leap in place of many steps
        size = (int(picture.width * factor), int(picture.height * factor))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    with atomic(path) as scratch:
        scratch.write_bytes(data)
    return data


def panels(rows: int = 1, columns: int = 1, height: float = 3.0, **settings: object) -> tuple[Figure, np.ndarray]:
    """A figure of page width with an array (rows, columns) of axes, each row `height` inches high."""
    use_style()
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, height * rows), squeeze=False, **settings)
    return figure, axes


def show_images(axes: Sequence[Axes], images: Tensor, titles: Sequence[str] = (), signed: bool = False) -> None:
    """Draw images (n, C, H, W), one an axis. signed: values around zero, drawn around mid-gray at full contrast."""
    for index, (axis, image) in enumerate(zip(axes, images.detach().float().cpu(), strict=False)):
        picture = image.permute(1, 2, 0).numpy()
        if signed:
            picture = 0.5 + 0.5 * picture / (np.abs(picture).max() + 1e-12)
        axis.imshow(picture.clip(0, 1).squeeze(), cmap="gray", vmin=0, vmax=1)
        axis.set_axis_off()
        if index < len(titles):
            axis.set_title(titles[index], loc="center", fontsize=9)


def densities(axis: Axes, samples: Mapping[str, Tensor], marks: Mapping[str, float] = {}, bins: int = 60) -> None:
    """Histograms as step lines on shared bins, one colour and line style a sample; `marks` are vertical lines."""
    values = [sample.flatten().double().cpu().numpy() for sample in samples.values()]
    low = min(v.min() for v in values)
    high = max(v.max() for v in values)
    edges = np.linspace(low, high, bins + 1)
    for name, value, colour, dash in zip(samples, values, COLOURS, ["-", "--", "-.", ":"] * 3, strict=False):
        axis.hist(value, edges, histtype="stepfilled", color=colour, alpha=0.12, density=True)
        axis.hist(value, edges, histtype="step", color=colour, linestyle=dash, linewidth=1.5, density=True, label=name)
    for name, mark in marks.items():
        axis.axvline(mark, color=BLACK, linewidth=1.2, linestyle=(0, (1, 1)), label=name)
    axis.set_ylabel("density")


def curve(axis: Axes, x: Sequence[float], y: Sequence, label: str, index: int = 0, band: bool = True) -> None:
    """A line with markers through `y` (numbers, or intervals with .estimate, .low, .high drawn as a band)."""
    colour = COLOURS[index % len(COLOURS)]
    marker = MARKERS[index % len(MARKERS)]
    centre = [getattr(value, "estimate", value) for value in y]
    axis.plot(x, centre, color=colour, marker=marker, label=label)
    if band and hasattr(y[0], "low"):
        axis.fill_between(x, [v.low for v in y], [v.high for v in y], color=colour, alpha=0.15, linewidth=0)


def dots(
    axis: Axes, names: Sequence[str], values: Sequence, index: int = 0, shift: float = 0.0, label: str = ""
) -> None:
    """Intervals as horizontal bars with a dot, one name a row from top to bottom."""
    rows = np.arange(len(names))[::-1] - shift
    centre = np.array([value.estimate for value in values])
    error = np.array([[v.estimate - v.low for v in values], [v.high - v.estimate for v in values]]).clip(0)
    style = {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}
    axis.errorbar(centre, rows, xerr=error, linestyle="none", capsize=3, label=label or None, **style)
    axis.set_yticks(np.arange(len(names))[::-1], names)

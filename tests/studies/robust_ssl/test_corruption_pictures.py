"""The pictures of page 16: every corruption once, names apart and inside, and the printed networks in their rows."""

import torch

from lib.book import plots
from lib.studies.robust_ssl import corruption_pictures as pictures
from lib.studies.robust_ssl.corrupted_accuracy import NETWORKS
from lib.studies.robust_ssl.corruption_tables import Errors
from lib.studies.robust_ssl.corruptions_page import ALL, PRINTED_AS


def test_every_corruption_is_drawn_once():
    axis = plots.panels()[1][0, 0]
    pictures.scatter_corruptions(axis, torch.arange(19.0).square(), torch.arange(19.0).flip(0))
    assert [len(part.get_offsets()) for part in axis.collections] == [3, 4, 4, 4, 4]
    assert {text.get_text() for text in axis.texts} == {name.replace("_", " ") for name in ALL}
    places = {text.get_text(): text.xy for text in axis.texts}
    assert list(places["saturate"]) == [ALL.index("saturate") + 1, 19 - ALL.index("saturate")]  # ranks from 1


def test_names_of_close_points_take_different_corners():
    axis = plots.panels()[1][0, 0]
    points = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]).double()
    pictures.name_points(axis, points, ["far", "one", "two", "three"])
    assert len({text.get_position() for text in axis.texts[1:]}) == 3


def test_areas_of_boxes():
    box = torch.tensor([0.0, 0.0, 2.0, 2.0])
    assert pictures.overlap(box, box + 1) == 1
    assert pictures.overlap(box, box + 2) == 0
    assert pictures.outside(box - 1, torch.tensor([5.0, 5.0])) == 3


def test_each_network_has_a_line_and_only_families_a_label():
    axis = plots.panels()[1][0, 0]
    pictures.draw_networks(axis, [0, 1], {name: torch.zeros(2) for name in NETWORKS})
    assert len(axis.lines) == len(NETWORKS)
    assert len(axis.get_legend_handles_labels()[1]) == 8
    styles = {(line.get_color(), line.get_linestyle()) for line in axis.lines}
    assert len(styles) == len(NETWORKS)


def test_printed_networks_stand_in_the_rows_of_ours():
    under = 40 + 10 * torch.rand(9, len(NETWORKS), 19, 5, generator=torch.Generator().manual_seed(0))
    errors = Errors(NETWORKS, ALL, (1, 2, 3, 4, 5), torch.full((9, len(NETWORKS)), 20.0), under, 50)
    axes = plots.panels(1, 3)[1][0]
    assert pictures.draw_measures(axes, errors, 10) == "over 19 corruptions"
    places = axes[2].collections[-1].get_offsets()
    assert len(places) == len(PRINTED_AS)
    assert places[list(PRINTED_AS).index("supervised"), 1] == len(NETWORKS) - 1 - NETWORKS.index("supervised")
    easy = Errors(NETWORKS, ALL, (1, 2, 3, 4, 5), errors.clean, under * 0 + 20, 50)
    assert "a reference that learnt" in pictures.draw_measures(plots.panels(1, 3)[1][0], easy, 10)

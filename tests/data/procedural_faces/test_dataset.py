"""The procedural faces: exact labels, independent factors, pixels that depend on nothing else."""

from dataclasses import fields, replace

import pytest
import torch

from lib.data.procedural_faces.dataset import load_procedural, render, sample_faces
from lib.data.procedural_faces.parameters import (
    ACTION_UNITS,
    EXPRESSIONS,
    IDENTITY,
    PROTOTYPES,
    prototypes,
    unit_column,
)
from lib.errors import WorkbookError

EYES, MOUTH = (slice(40, 64), slice(24, 88)), (slice(82, 108), slice(34, 78))  # rows and columns on a frontal face


@pytest.fixture(scope="module")
def frontal():
    """Six frontal, neutral, aligned people with hair out of the face."""
    faces = sample_faces(torch.arange(6), seed=5)
    scene, hair = faces.scene.clone(), faces.hair.clone()
    scene[:, 4:], hair[:, 0], hair[:, 4] = 0, 1, 0
    still = torch.zeros_like(faces.action_units)
    return replace(faces, action_units=still, pose=torch.zeros_like(faces.pose), scene=scene, hair=hair)


def with_unit(faces, unit, grade=1.0):
    units = faces.action_units.clone()
    units[:, unit_column(unit)] = grade
    return replace(faces, action_units=units)


def change(faces, other, rows=slice(None), columns=slice(None)):
    """Mean absolute pixel difference (n,) inside a window."""
    return (render(faces) - render(other)).abs()[:, :, rows, columns].mean((1, 2, 3))


def pale_and_gray(faces):
    """Number of pixels (n,) near the eyes bright in all three colours: on dark skin, the whites of the eyes."""
    return ((render(faces)[:, :, *EYES].amin(1)) > 0.5).flatten(1).sum(1)


def test_pictures_are_pixels_in_the_unit_range():
    pictures = render(sample_faces(torch.arange(20)))
    assert pictures.shape == (20, 3, 112, 112)
    assert pictures.dtype == torch.float32
    assert pictures.isfinite().all()
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert pictures.flatten(1).std(1).min() > 0.08  # no picture is empty


def test_a_picture_depends_on_its_own_parameters_only():
    faces = sample_faces(torch.arange(21), seed=2)
    every, some = render(faces), torch.tensor([20, 3, 11])
    assert torch.equal(render(faces.take(some)), every[some])
    images = load_procedural(people=4, per_person=5)
    assert torch.equal(images.read([13]), images.read(range(20))[13:14])


def test_rendering_leaves_the_number_of_threads_as_it_was():
    before = torch.get_num_threads()
    render(sample_faces(torch.arange(1)))
    assert torch.get_num_threads() == before


def test_the_same_seed_gives_the_same_faces():
    labels = torch.arange(6).repeat_interleave(2)
    one, again, other = sample_faces(labels, 1), sample_faces(labels, 1), sample_faces(labels, 2)
    for field in fields(one):
        assert torch.equal(getattr(one, field.name), getattr(again, field.name))
    assert not torch.equal(one.identity, other.identity)


def test_a_person_is_fixed_by_seed_and_number():
    few, many = sample_faces(torch.arange(3), 7), sample_faces(torch.arange(30).repeat_interleave(4), 7)
    assert torch.equal(few.identity, many.identity[:12:4])
    assert torch.equal(few.skin, many.skin[:12:4])
    same = many.identity.reshape(30, 4, -1)
    assert torch.equal(same, same[:, :1].expand_as(same))
    assert not torch.equal(many.pose[0], many.pose[1])


def test_factors_are_drawn_independently():
    faces = sample_faces(torch.arange(4000), seed=3)
    groups = [faces.identity, faces.skin, faces.hair, faces.pose, faces.light, faces.scene, faces.action_units]
    owner = torch.cat([torch.full((group.shape[1],), i) for i, group in enumerate(groups)])
    correlation = torch.corrcoef(torch.cat(groups, dim=1).T)
    between = correlation[owner[:, None] != owner[None, :]]
    assert between.abs().max() < 0.08  # about five standard errors of zero
    identity = torch.corrcoef(faces.identity.T) - torch.eye(len(IDENTITY))
    assert identity.abs().max() < 0.08


def test_units_are_those_of_the_expression():
    faces = sample_faces(torch.arange(700), seed=4)
    assert set(faces.expression.tolist()) == set(range(len(EXPRESSIONS)))
    assert faces.action_units.min() >= 0
    assert faces.action_units.max() <= 1
    for name, units in PROTOTYPES.items():
        mean = faces.action_units[faces.expression == EXPRESSIONS.index(name)].mean(0)
        assert all(mean[unit_column(unit)] > 0.55 * grade for unit, grade in units.items())
    absent = (prototypes()[faces.expression] == 0) & (torch.tensor(list(ACTION_UNITS)) != 43)
    assert faces.action_units[absent].max() <= 0.12


def test_eyes_closed_hides_the_eyes_and_nothing_else(frontal):
    bright = replace(
        frontal, skin=torch.tensor([[-1.0, 0.0]]).repeat(6, 1), light=torch.tensor([[0, 20, 0.6, 0.7, 0]] * 6)
    )
    assert (pale_and_gray(bright) > 20).all()
    assert (pale_and_gray(with_unit(bright, 43)) == 0).all()
    assert (change(frontal, with_unit(frontal, 43), *EYES) > 0.01).all()
    assert (change(frontal, with_unit(frontal, 43), *MOUTH) == 0).all()


@pytest.mark.parametrize("unit", ACTION_UNITS)
def test_every_unit_shows_and_is_graded(frontal, unit):
    half, full = (change(frontal, with_unit(frontal, unit, grade)) for grade in (0.5, 1.0))
    assert (half > 1e-5).all()
    assert (full > half).all()


@pytest.mark.parametrize("unit", [1, 2, 5, 43])
def test_upper_face_units_leave_the_mouth_alone(frontal, unit):
    assert (change(frontal, with_unit(frontal, unit), *MOUTH) < 1e-6).all()


@pytest.mark.parametrize("unit", [17, 20, 23, 25])
def test_lower_face_units_leave_the_eyes_alone(frontal, unit):
    assert (change(frontal, with_unit(frontal, unit), *EYES) < 1e-3).all()


@pytest.mark.parametrize("name", [name for name in IDENTITY if name != "freckles"])
def test_every_identity_factor_shows(frontal, name):
    column = list(IDENTITY).index(name)
    low, high = frontal.identity.clone(), frontal.identity.clone()
    low[:, column], high[:, column] = -1, 1
    peak = (render(replace(frontal, identity=low)) - render(replace(frontal, identity=high))).abs().amax((1, 2, 3))
    assert (peak > 0.02).all()  # five gray levels somewhere: a mole is small


def test_light_comes_from_where_the_label_says(frontal):
    def side(azimuth):
        light = torch.tensor([[azimuth, 20, 0.5, 0.6, 0.0]]).repeat(6, 1)
        face = render(replace(frontal, light=light))[:, :, 40:100]
        return face[..., 56:84].mean((1, 2, 3)) - face[..., 28:56].mean((1, 2, 3))

    assert (side(50.0) > 0.03).all()
    assert (side(-50.0) < -0.03).all()


def test_a_head_that_turns_right_shows_its_nose_further_right(frontal):
    """Turning left and right mirror each other, as light and face are symmetric here."""
    light = torch.tensor([[0, 20, 0.5, 0.6, 0.0]]).repeat(6, 1)
    identity, hair = frontal.identity.clone(), frontal.hair.clone()
    hair[:, 3] = 0
    identity[:, list(IDENTITY).index("mole_x")] = 0
    identity[:, list(IDENTITY).index("freckles")] = -1
    right, left = (
        render(replace(frontal, light=light, identity=identity, hair=hair, pose=torch.tensor([[yaw, 0.0, 0.0]] * 6)))
        for yaw in (20.0, -20.0)
    )
    mirrored = torch.nn.functional.pad(left.flip(-1), (0, 1))[..., 1:]  # the midline lies at 55.9, not 55.5
    assert (right - left).abs().mean() > 0.02
    assert (right - mirrored).abs().mean() < 0.35 * (right - left).abs().mean()


def test_sizes_show_the_same_face(frontal):
    large = torch.nn.functional.avg_pool2d(render(frontal, 224), 2)
    assert (large - render(frontal)).abs().mean() < 0.01


def test_the_set_keeps_its_people_apart():
    images = load_procedural(people=20, per_person=4, seed=1)
    train, test = images.splits["train"], images.splits["test"]
    assert len(train) + len(test) == len(images) == 80
    assert not set(images.labels[train].tolist()) & set(images.labels[test].tolist())
    pairs = images.pairs["test"]
    assert torch.isin(torch.cat([pairs.first, pairs.second]), test).all()
    assert torch.equal(images.labels[pairs.first] == images.labels[pairs.second], pairs.same)
    assert pairs.same.float().mean() == 0.5
    assert images.attributes["identity"].shape == (80, len(IDENTITY))
    assert images.source == "embedded: procedural faces"
    assert images.shown


def test_the_fingerprint_follows_the_arguments():
    prints = {load_procedural(**options).fingerprint for options in ({}, {"seed": 1}, {"people": 50}, {"size": 64})}
    assert len(prints) == 4
    assert load_procedural().fingerprint in prints


@pytest.mark.parametrize(
    "options", [{"people": 3}, {"people": 5.0}, {"per_person": 1}, {"size": 8}, {"size": 4096}, {"seed": -1}]
)
def test_bad_arguments_end_in_one_sentence(options):
    with pytest.raises(WorkbookError, match="Procedural faces"):
        load_procedural(**options)


def test_bad_parameters_end_in_one_sentence():
    with pytest.raises(WorkbookError, match="identity labels"):
        sample_faces(torch.tensor([-1, 2]))
    with pytest.raises(WorkbookError, match="picture size"):
        render(sample_faces(torch.arange(1)), size=3)
    with pytest.raises(WorkbookError, match="action unit"):
        unit_column(3)

"""What a procedural face is made of: its factors, their names and ranges."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from lib.errors import WorkbookError

EXPRESSIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # FER2013's order

# Facial Action Coding System units, graded 0 (absent) to 1 (full), in the column order of `action_units`.
ACTION_UNITS = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    12: "lip corner puller",
    15: "lip corner depressor",
    17: "chin raiser",
    20: "lip stretcher",
    23: "lip tightener",
    25: "lips part",
    26: "jaw drop",
    43: "eyes closed",
}

PROTOTYPES = {  # each expression as a combination of units at full intensity
    "angry": {4: 1.0, 5: 0.5, 7: 0.7, 17: 0.4, 23: 1.0},
    "disgust": {4: 0.4, 7: 0.6, 9: 1.0, 15: 0.7, 17: 0.6},
    "fear": {1: 1.0, 2: 0.5, 4: 0.6, 5: 1.0, 20: 1.0, 25: 0.8},
    "happy": {6: 1.0, 12: 1.0, 25: 1.0},
    "sad": {1: 1.0, 4: 0.5, 7: 0.2, 15: 1.0, 17: 0.5},
    "surprise": {1: 1.0, 2: 1.0, 5: 0.9, 25: 0.6, 26: 1.0},
    "neutral": {},
}

# Identity: name -> (mean, half range) for a factor in [-1, 1]. Lengths in pixels of the 112x112 crop, eye line at zero.
IDENTITY = {
    "face_width": (38.0, 4.5),
    "face_length": (56.0, 5.0),
    "jaw_taper": (0.20, 0.15),
    "jaw_square": (0.45, 0.40),
    "cheek_fullness": (0.0, 0.05),
    "chin_size": (3.0, 2.5),
    "hairline": (31.0, 5.0),
    "ear_size": (0.9, 0.2),
    "eye_spacing": (17.6, 2.8),
    "eye_width": (8.3, 1.5),
    "eye_opening": (3.9, 1.2),
    "eye_tilt": (0.06, 0.20),
    "eye_depth": (3.0, 2.0),
    "iris_colour": (0.0, 1.0),
    "brow_height": (11.0, 2.8),
    "brow_thickness": (2.0, 1.1),
    "brow_arch": (2.2, 1.8),
    "brow_tilt": (-0.02, 0.17),
    "brow_colour": (0.5, 0.4),
    "nose_length": (21.0, 3.5),
    "nose_width": (6.8, 2.3),
    "nose_height": (9.5, 3.0),
    "nose_bridge": (3.4, 1.0),
    "mouth_height": (40.0, 3.0),
    "mouth_width": (14.0, 3.0),
    "upper_lip": (3.1, 1.6),
    "lower_lip": (4.3, 1.9),
    "lip_colour": (0.5, 0.45),
    "cupid_bow": (0.3, 0.3),
    "freckles": (0.0, 1.0),
    "mole_x": (0.0, 30.0),
    "mole_y": (18.0, 26.0),
    "age": (0.4, 0.4),
}
POSE = {
    "yaw": 25.0,
    "pitch": 12.0,
    "roll": 5.0,
}  # half ranges in degrees; positive: to the viewer's right, down, clockwise
LIGHT = {"azimuth": (0, 55), "elevation": (25, 30), "ambient": (0.48, 0.1), "strength": (0.58, 0.17), "warmth": (0, 1)}
HAIR = ("style", "tone", "warmth", "parting", "beard")
HAIR_STYLES = ("shaved", "crop", "short", "fringe", "bob", "long", "curly")
SKIN = ("tone", "redness")
SCENE = ("red", "green", "blue", "gradient", "shift_x", "shift_y", "scale")


@dataclass(frozen=True)
class FaceParameters:
    """All factors of n faces; every field leads with n. Ranges as in this module's tables."""

    identity: Tensor  # (n, 33) in [-1, 1], columns of IDENTITY
    expression: Tensor  # (n,) int64, index into EXPRESSIONS
    action_units: Tensor  # (n, 15) in [0, 1], columns of ACTION_UNITS
    pose: Tensor  # (n, 3) degrees: yaw, pitch, roll
    light: Tensor  # (n, 5), columns of LIGHT; azimuth and elevation in degrees
    hair: Tensor  # (n, 5), columns of HAIR: style index, tone and warmth and parting in [-1, 1], beard in [0, 1]
    skin: Tensor  # (n, 2) in [-1, 1], columns of SKIN: dark to light, pale to ruddy
    scene: Tensor  # (n, 7), columns of SCENE: background colour in [0, 1], misalignment in pixels, log scale

    def __len__(self) -> int:
        return len(self.identity)

    def take(self, index: Tensor | slice) -> "FaceParameters":
        """The faces at `index`."""
        return FaceParameters(*(getattr(self, field.name)[index] for field in fields(self)))


def unit_column(unit: int) -> int:
    """The column of `action_units` that holds FACS unit `unit`; WorkbookError when this face model lacks it."""
    if unit not in ACTION_UNITS:
        raise WorkbookError(f"Expected an action unit among {list(ACTION_UNITS)}, got {unit}; choose one of them.")
    return list(ACTION_UNITS).index(unit)


def prototypes() -> Tensor:
    """The table of PROTOTYPES as a (7, 15) tensor."""
    table = torch.zeros(len(EXPRESSIONS), len(ACTION_UNITS))
    for row, name in enumerate(EXPRESSIONS):
        for unit, grade in PROTOTYPES[name].items():
            table[row, unit_column(unit)] = grade
    return table

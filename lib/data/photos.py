"""From photographs as they come from a camera to aligned faces: one face per picture, brought to the template."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from lib.cache import kept
from lib.data.alignment import TEMPLATE, similarity, warp
from lib.data.detection import SHA256, Faces, find_faces
from lib.data.readers.archives import Store
from lib.data.readers.decode import BROKEN, broken, upright
from lib.errors import WorkbookError, choices
from lib.paths import atomic
from lib.progress import progress

CHOICES = ("largest", "centre")  # which face of a picture is meant
CHUNK = 128  # pictures whose faces are found, and kept, at once: a stop loses no more than these
LIST = "no_face.txt"
LOCK = threading.Lock()


class FoundFaces(NamedTuple):
    """Five points (k, 5, 2), in pixels, of the one face meant in each of k pictures, and the pictures without a face.

    files: the k pictures. The points are those of `lib.data.alignment.TEMPLATE`.
    """

    files: list[str]
    points: np.ndarray
    without_face: list[str]

    def matrices(self, size: int = 112) -> list[np.ndarray]:
        """The similarities (2, 3) that bring each face to the template at `size` x `size` pixels."""
        return [similarity(points, TEMPLATE * size / 112) for points in self.points]

    def told(self) -> str:
        """What was found, in one sentence."""
        total = len(self.files) + len(self.without_face)
        some = ", ".join(self.without_face[:5]) + (", ..." if len(self.without_face) > 5 else "")
        return f"{len(self.files)} of {total} pictures show a face" + (f"; none in {some}." if some else ".")


def choose_face(faces: Faces, size: tuple[int, int], choose: str = "largest") -> int:
    """Which face of a picture of `size` (width, height) is meant: the largest box, or the one nearest the centre."""
    corners = faces.boxes.reshape(-1, 2, 2)
    if choose == "centre":
        return int(np.linalg.norm(corners.mean(1) - np.array(size) / 2, axis=1).argmin())
    return int((corners[:, 1] - corners[:, 0]).prod(1).argmax())


def find_in_store(store: Store, files: list[str], choose: str = "largest") -> FoundFaces:
    """The face meant in each of a store's pictures, and the pictures without one; see `find_points`.

    Raises WorkbookError where no picture shows a face.
    """
    points = find_points(store, files, choose)
    found = ~points[:, 0, 0].isnan()
    if not found.any():
        raise WorkbookError(
            f"No face was found in any of the {len(files)} pictures of {store.label}: give photographs of faces, "
            "or leave out align where they are aligned crops already."
        )
    seen = list(zip(files, found.tolist(), strict=True))
    return FoundFaces([name for name, face in seen if face], points[found].numpy(), [n for n, face in seen if not face])


def find_points(store: Store, files: list[str], choose: str = "largest") -> torch.Tensor:
    """Five points (n, 5, 2) of the face meant in each picture, in pixels; nan where a picture shows none.

    choose: "largest", or "centre" for pictures with bystanders. What was found is kept, so that a stop loses little and
    no picture is searched twice. Raises WorkbookError for another word and for a picture that cannot be read.
    """
    if choose not in CHOICES:
        raise WorkbookError(f"choose='{choose}' names no face of a picture: it is one of {choices(CHOICES)}.")
    chunks = [files[at : at + CHUNK] for at in range(0, len(files), CHUNK)]
    told = progress(chunks, f"finding faces in {store.label}, {CHUNK} pictures a step")
    return torch.cat([kept(points_of, store, chunk, choose, SHA256) for chunk in told])


class MatricesWhenRead(Sequence):
    """The similarity (2, 3) of each picture to the template at `size` pixels, found when first asked for.

    For sets of which a page reads a part. The face nearest the centre is taken; pictures without one get `crop`.
    """

    def __init__(self, store: Store, files: list[str], size: int, crop: np.ndarray):
        self.store = store
        self.files = files
        self.size = size
        self.crop = crop
        self.points: dict[int, torch.Tensor] = {}  # by chunk

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, at: int) -> np.ndarray:
        chunk, place = divmod(at, CHUNK)
        with LOCK:  # pictures are read by several threads
            if chunk not in self.points:
                names = self.files[chunk * CHUNK : (chunk + 1) * CHUNK]
                self.points[chunk] = find_points(self.store, names, "centre")
        points = self.points[chunk][place].numpy()
        return self.crop if np.isnan(points).any() else similarity(points, TEMPLATE * self.size / 112)


def points_of(store: Store, files: list[str], choose: str, weights: str) -> torch.Tensor:
    """Points (n, 5, 2) of the face meant in each picture, nan where there is none; `weights` only keys the result."""
    points = torch.full((len(files), 5, 2), torch.nan, dtype=torch.float64)
    for at, name in enumerate(files):
        image = read_picture(store, name)
        faces = find_faces(image)
        if len(faces.scores):
            points[at] = torch.from_numpy(faces.points[choose_face(faces, image.size, choose)])
    return points


def read_picture(store: Store, name: str) -> Image.Image:
    """One of a store's pictures, RGB and upright, at its own size."""
    try:
        return upright(store.bytes(name), "RGB")
    except BROKEN as error:
        raise broken(name, store, error) from None


def write_aligned(
    store: Store, people: dict[str, str], out: Path, choose: str = "largest", size: int = 112
) -> FoundFaces:
    """Write the aligned face of every picture as `out/person/picture.png`, and the pictures without one to a list.

    people: the person of each of the store's pictures. A list `no_face.txt` is written where a face is missing.
    """
    found = find_in_store(store, list(people), choose)
    taken: set[Path] = set()
    for name, matrix in zip(found.files, found.matrices(size), strict=True):
        target = _free(out / people[name], Path(name).stem, taken)
        with atomic(target) as scratch:
            warp(read_picture(store, name), matrix, size).save(scratch)
    (out / LIST).unlink(missing_ok=True)
    if found.without_face:
        (out / LIST).write_text("\n".join(found.without_face) + "\n")
    return found


def _free(folder: Path, stem: str, taken: set[Path]) -> Path:
    """A name that no other picture of this run has: anna.jpg and anna.png are two pictures."""
    count = 1
    path = folder / f"{stem}.png"
    while path in taken:
        count += 1
        path = folder / f"{stem}-{count}.png"
    taken.add(path)
    return path

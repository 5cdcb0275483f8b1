"""What pages 07 and 08 share, trained once before they run side by side."""

from types import SimpleNamespace

from lib.book.run import Run
from lib.evaluation.representations import watch_of
from lib.studies.acl_triplet.study import SIZES, ACLTripletStudy, faces_for


def warm(run: Run) -> None:
    """Pre-train and keep the encoder of every seed, watched as both pages watch it, at the run's profile."""
    scale = SimpleNamespace(**{name: row[run.profile] for name, row in SIZES.items()})
    faces = faces_for(run, scale)
    study = ACLTripletStudy(run, scale, faces)
    watch = watch_of(*faces.part(faces.held_out), scale.watched_pairs, scale.watched_people, scale.watch_steps)
    for seed in scale.seeds:
        study.pretrained(seed, measure=watch)

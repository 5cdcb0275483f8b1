"""ACL-triplet: contrastive adversarial pre-training, then triplet fine-tuning: the door of pages 07 and 08."""

from lib.studies.acl_triplet.evaluation import (
    TripletAttack,
    Triplets,
    TripletWatch,
    judge_triplets,
    ordered,
    ordered_by_budget,
    person_means,
    rounds_of,
    routed_pair_scores,
    triplet_distances,
)
from lib.studies.acl_triplet.study import SIZES, ACLTripletStudy, Watches, faces_for
from lib.studies.acl_triplet.training import Network, RoutedEncoder

__all__ = [
    "ACLTripletStudy",
    "Network",
    "RoutedEncoder",
    "SIZES",
    "TripletAttack",
    "TripletWatch",
    "Triplets",
    "Watches",
    "faces_for",
    "judge_triplets",
    "ordered",
    "ordered_by_budget",
    "person_means",
    "rounds_of",
    "routed_pair_scores",
    "triplet_distances",
]

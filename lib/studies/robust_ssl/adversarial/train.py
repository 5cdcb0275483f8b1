"""Train and judge what page 18 needs, ahead of it: `python -m lib.studies.robust_ssl.adversarial.train [names ...]`."""

from functools import cache

from lib.book.run import Run
from lib.studies.plans import Plan, Program
from lib.studies.robust_ssl.adversarial.self_at_page import judgements
from lib.studies.robust_ssl.adversarial.study import self_at_study_for


def plan_of(run: Run) -> Plan:
    """Every training of page 18 and what judges them; minutes are those of the laptop's size."""
    study = self_at_study_for(run)
    minutes = cache(study.minutes)  # only a list asks for them
    return Plan(study.plan() | judgements(study), lambda name: minutes().get(name))


PAGE = "18_self_adversarial_training"
TRAIN = Program("lib.studies.robust_ssl.adversarial.train", __doc__.splitlines()[0], PAGE, plan_of)

if __name__ == "__main__":
    TRAIN.run()

"""Train what pages 15 to 17 need, ahead of them: `python -m lib.studies.robust_ssl.train [names ...]`."""

from lib.book.run import Run
from lib.studies.plans import Plan, Program
from lib.studies.robust_ssl.study import study_for


def plan_of(run: Run) -> Plan:
    """Every training of the three pages, and the probes of page 15."""
    return Plan(study_for(run).plan())


PAGE = "15_joint_embedding"
TRAIN = Program("lib.studies.robust_ssl.train", __doc__.splitlines()[0], PAGE, plan_of)

if __name__ == "__main__":
    TRAIN.run()

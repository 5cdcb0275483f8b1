"""Train what pages 09 to 11 need, ahead of them: `python -m lib.studies.dar_sfrl.train [names ...]`."""

from lib.book.run import Run
from lib.studies.dar_sfrl.study import study_for
from lib.studies.plans import Plan, Program


def plan_of(run: Run) -> Plan:
    """Every training of the three pages."""
    return Plan(study_for(run).plan())


PAGE = "09_degradation"
TRAIN = Program("lib.studies.dar_sfrl.train", __doc__.splitlines()[0], PAGE, plan_of)

if __name__ == "__main__":
    TRAIN.run()

"""Train what page 19 needs, after page 18's: `python -m lib.studies.robust_ssl.astra.train [names ...]`."""

from lib.book.run import Run
from lib.studies.plans import Plan, Program
from lib.studies.robust_ssl.astra.study import strategy_study_for


def plan_of(run: Run) -> Plan:
    """Every training of page 19; minutes are those of the laptop's size."""
    study = strategy_study_for(run)
    return Plan(study.plan(), study.minutes_of)


PAGE = "19_astra"
TRAIN = Program("lib.studies.robust_ssl.astra.train", __doc__.splitlines()[0], PAGE, plan_of)

if __name__ == "__main__":
    TRAIN.run()

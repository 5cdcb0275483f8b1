import pytest

from lib.book.run import start
from lib.errors import WorkbookError
from lib.studies import plans
from lib.studies.dar_sfrl import train as dar
from lib.studies.robust_ssl import train as ssl
from lib.studies.robust_ssl.adversarial import train as self_at
from lib.studies.robust_ssl.astra import train as astra

SMOKE = ("--profile", "smoke", "--device", "cpu")


def test_names_are_chosen_by_how_they_start():
    known = ["DAR 0", "DAR 1", "PCL 0"]
    assert plans.chosen([], known) == known
    assert plans.chosen(["DAR"], known) == ["DAR 0", "DAR 1"]
    assert plans.chosen(["PCL 0", "DAR 1"], known) == ["DAR 1", "PCL 0"]
    with pytest.raises(WorkbookError, match="no training 'MAE'"):
        plans.chosen(["MAE"], known)


def program(done):
    jobs = {name: lambda name=name: done.append(name) for name in ("one 0", "one 1", "two 0")}
    plan = plans.Plan(jobs, {"two 0": 2.5}.get)
    return plans.Program("lib.made", "Train what is made up.", "00_start_here", lambda run: plan)


def test_a_program_does_what_is_named_and_says_how_long_it_took(capsys):
    done = []
    assert program(done).main(["one", *SMOKE]) == 0
    assert done == ["one 0", "one 1"]
    assert "one 1: 0 s" in capsys.readouterr().out


def test_a_list_does_nothing_and_tells_minutes_where_they_are_known(capsys):
    done = []
    assert program(done).main(["--list", *SMOKE]) == 0
    assert not done
    assert capsys.readouterr().out.splitlines()[-3:] == ["one 0", "one 1", "two 0: about 2.5 min"]


def test_a_wrong_name_is_one_sentence_and_a_status(capsys):
    assert program([]).main(["three", *SMOKE]) == 1
    assert "error: There is no training 'three'" in capsys.readouterr().err


@pytest.mark.parametrize("module", [dar, ssl, self_at, astra], ids=lambda module: module.PAGE)
def test_every_study_has_a_plan_whose_program_bears_its_modules_name(module):
    assert module.TRAIN.module == module.__name__
    plan = module.plan_of(start(module.PAGE, profile="smoke", device="cpu"))
    assert plan.jobs
    assert all(callable(job) for job in plan.jobs.values())

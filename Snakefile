"""The book as a graph: one rule a page through papermill, then the scoreboard.

Run by `make book`, or by hand: snakemake --cores all --config profile=laptop pages="01 02" device=auto
Every profile writes below runs/<profile>/, so a stop costs the page at hand and nothing else.
"""

import sys

from lib.book.contents import PAGES, PROFILES
from lib.dependencies import page_inputs

PROFILE = str(config.get("profile", "smoke"))
ASKED = [name.zfill(2) for name in str(config.get("pages") or "").split()]  # YAML reads 01 as the number 1
DEVICE = str(config.get("device", "auto"))
SEED = int(config.get("seed", 0))

WRITTEN = [page for page in PAGES if page.written]
CHOSEN = [page.name for page in WRITTEN if not ASKED or page.number in ASKED or page.name in ASKED]
UNKNOWN = [name for name in ASKED if not any(name in (page.number, page.name) for page in WRITTEN)]
if PROFILE not in PROFILES:
    raise WorkflowError(f"There is no profile '{PROFILE}': choose one of {', '.join(PROFILES)}.")
if UNKNOWN:
    raise WorkflowError(f"There is no page '{UNKNOWN[0]}' yet: the pages are {', '.join(p.number for p in WRITTEN)}.")
# the first and the last page show how the others fared, so they run after them
SUMMARIES = ("00_start_here", "20_scoreboard")
# small pages run side by side with one thread each; one that fills a GPU or every core runs alone
ALONE = PROFILE in ("gpu", "paper")
# what pages share is trained once, before they would all wait for it; a name is one of `python -m lib.studies warm`
SHARED = {
    "recognisers": ("00", "01", "02", "03", "04", "05", "06"),
    "pin": ("03", "04", "05", "06"),
    "acl_triplet": ("07", "08"),
    "ancra": ("12", "13", "14"),
}


wildcard_constraints:
    profile="[a-z]+",
    page=r"\d\d_\w+",
    shared="|".join(SHARED),


onstart:
    Path(f"runs/{PROFILE}").mkdir(parents=True, exist_ok=True)
    Path(f"runs/{PROFILE}/.started").touch()


rule scoreboard:
    input:
        expand("runs/{profile}/{page}.ipynb", profile=PROFILE, page=CHOSEN),
    output:
        f"runs/{PROFILE}/scoreboard.txt",
    shell:
        "{sys.executable} -m lib.book scoreboard --profile {PROFILE} > {output}"


rule shared:
    input:
        lambda wildcards: f"runs/{wildcards.profile}/recognisers.trained" if wildcards.shared == "pin" else [],
    output:
        touch("runs/{profile}/{shared}.trained"),
    params:
        device=DEVICE,
    threads: 1
    shell:
        "{sys.executable} -m lib.studies warm {wildcards.shared} --device {params.device}"


rule page:
    input:
        notebook="notebooks/{page}.ipynb",
        code=lambda wildcards: page_inputs(Path("notebooks") / f"{wildcards.page}.ipynb"),
        needs=lambda wildcards: [
            f"runs/{wildcards.profile}/{name}.ipynb"
            for name in CHOSEN
            if wildcards.page in SUMMARIES and name not in SUMMARIES
        ],
        shared=lambda wildcards: [
            f"runs/{wildcards.profile}/{name}.trained"
            for name, pages in SHARED.items()
            if wildcards.profile == "smoke" and wildcards.page[:2] in pages
        ],
    output:
        "runs/{profile}/{page}.ipynb",
    params:
        device=DEVICE,
        seed=SEED,
        pages=" ".join(CHOSEN),
        threads=0 if ALONE else 1,
    threads: (workflow.cores or 1) if ALONE else 1
    shell:
        "{sys.executable} -m lib.book run {wildcards.page} --profile {wildcards.profile} --device {params.device}"
        " --seed {params.seed} --out {output} --threads {params.threads} --among {params.pages}"

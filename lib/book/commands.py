"""Run, publish and sum up the book from the command line.

python -m lib.book run 01_subspace_noise --profile smoke --out runs/smoke/01_subspace_noise.ipynb
"""

import argparse
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from nbformat import NotebookNode

from lib.book.contents import PAGES, PROFILES
from lib.book.grade import LIMIT, grade
from lib.errors import WorkbookError, choices
from lib.paths import NOTEBOOKS, ROOT, RUNS, atomic

CUDA_KERNEL = "workbook-cuda"
# as JupyterLab itself would write it: with any other name, opening a page would mark its tab as modified
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
FOLDED = "hide-input"  # the tag of bookkeeping cells: folded in the HTML book by the tag, in JupyterLab by metadata


def page_path(name: str) -> Path:
    """The notebook of a page given by number or name."""
    matches = [page for page in PAGES if page.written and name in (page.name, page.number)]
    if not matches:
        written = [page.number for page in PAGES if page.written]
        raise WorkbookError(f"There is no page '{name}' yet: the pages are {choices(written)}.")
    return NOTEBOOKS / f"{matches[0].name}.ipynb"


def kernel_for(device: str) -> str:
    """The registered CUDA kernel when CUDA is asked for and it exists, else the kernel of this environment."""
    known = KernelSpecManager().find_kernel_specs()
    return CUDA_KERNEL if device.startswith("cuda") and CUDA_KERNEL in known else "python3"


def run_page(name: str, out: Path, **parameters: object) -> Path:
    """Execute a page through papermill into `out`. `out` appears only when the page succeeded.

    A page that fails leaves its notebook, with the error in it, in runs/failed.
    """
    import papermill  # only here, like torch below: what a command does not need would cost each page seconds

    source = page_path(name)
    if parameters["profile"] not in PROFILES:
        raise WorkbookError(f"There is no profile '{parameters['profile']}': choose one of {choices(PROFILES)}.")
    kernel = kernel_for(str(parameters["device"]))
    with atomic(out) as scratch:
        try:
            papermill.execute_notebook(
                source,
                scratch,
                parameters,
                kernel_name=kernel,
                cwd=NOTEBOOKS,
                progress_bar=False,
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],  # else a kernel that stops may print one
            )
        except papermill.PapermillExecutionError as error:
            failed = RUNS / "failed" / out.name
            failed.parent.mkdir(parents=True, exist_ok=True)
            failed.write_bytes(scratch.read_bytes())
            where = failed.relative_to(ROOT)
            raise WorkbookError(f"{source.stem} stopped: {error.evalue.rstrip('.')} (see {where}).") from None
    return out


def cleaned(book: NotebookNode) -> NotebookNode:
    """An executed page as it is committed: no injected cell, no run-time metadata, no emptied progress bars.

    Cells tagged `hide-input` are folded.
    """
    book.cells = [cell for cell in book.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    book.metadata.pop("papermill", None)
    book.metadata["kernelspec"] = NotebookNode(KERNEL)
    for cell in book.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = NotebookNode({"tags": tags} if tags else {})
        if FOLDED in tags:
            cell.metadata["jupyter"] = {"source_hidden": True}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not blank(output)]
            for output in cell.outputs:
                output.pop("metadata", None) if output.output_type == "stream" else None
    return book


def blank(output: NotebookNode) -> bool:
    """Whether an output shows nothing: what a progress bar leaves when it is done."""
    return output.output_type == "display_data" and output.data.get("text/html") == ""


def publish(name: str, profile: str = "laptop") -> Path:
    """Put the executed page of runs/<profile> in place of the committed one, so that readers see its outputs."""
    source = page_path(name)
    executed = RUNS / profile / source.name
    if not executed.exists():
        raise WorkbookError(f"{source.stem} was not run at {profile} yet: `make book PROFILE={profile} PAGES={name}`.")
    book = cleaned(nbformat.read(executed, as_version=4))
    with atomic(source) as scratch:
        nbformat.write(book, scratch)
    return source


def register_kernel() -> str:
    """Register this environment as the kernel `workbook-cuda`; an error where torch finds no GPU."""
    from lib.book.run import choose_device

    choose_device("cuda")
    command = [sys.executable, "-m", "ipykernel", "install", "--sys-prefix", "--name", CUDA_KERNEL]
    subprocess.run([*command, "--display-name", "Workbook (CUDA)"], check=True, capture_output=True)
    return CUDA_KERNEL


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m lib.book", description=__doc__.splitlines()[0])
    commands = top.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="execute one page")
    run.add_argument("page")
    run.add_argument("--profile", default="smoke")
    run.add_argument("--device", default="auto")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--data", default="auto")
    run.add_argument("--out", type=Path)
    run.add_argument("--threads", type=int, default=0, help="of the page's process; 0 for as many as the machine has")
    run.add_argument("--among", nargs="*", default=[], help="the pages of this run of the book, to count by")
    publishing = commands.add_parser("publish", help="commit-ready copies of executed pages")
    publishing.add_argument("pages", nargs="+")
    publishing.add_argument("--profile", default="laptop")
    board = commands.add_parser("scoreboard", help="build the scoreboard and print its summary")
    board.add_argument("--profile", default="smoke")
    grading = commands.add_parser("grade", help="run the exercises of many notebooks and table the outcomes")
    grading.add_argument("notebooks", nargs="+", type=Path)
    grading.add_argument("--out", type=Path, default=Path("grades.csv"))
    grading.add_argument("--limit", type=float, default=LIMIT, help="seconds for one notebook")
    site = commands.add_parser("html", help="build the HTML book from the stored notebooks, without running them")
    site.add_argument("--out", type=Path, default=RUNS / "html")
    commands.add_parser("kernel", help=f"register the kernel {CUDA_KERNEL}")
    return top


def ended(out: Path, among: list[str], seconds: float) -> str:
    """The line of a page that ended: how many of the pages of this run of the book have, its name, its seconds."""
    if not among:
        return f"{out.stem}   {seconds:.0f} s"
    started = (out.parent / ".started").stat().st_mtime if (out.parent / ".started").exists() else 0.0
    others = [out.parent / f"{name}.ipynb" for name in among if name != out.stem]
    done = 1 + sum(path.exists() and path.stat().st_mtime >= started for path in others)
    return f"[{done:>2}/{len(among)}] {out.stem:<28} {seconds:>4.0f} s"


def execute(asked: argparse.Namespace) -> None:
    """Do what the command line asks."""
    if asked.command == "run":
        out = (asked.out or RUNS / asked.profile / page_path(asked.page).name).resolve()
        settings = {"profile": asked.profile, "device": asked.device, "seed": asked.seed, "data": asked.data}
        if asked.threads:
            os.environ["OMP_NUM_THREADS"] = str(asked.threads)
        start = time.monotonic()
        run_page(asked.page, out, **settings)
        print(ended(out, asked.among, time.monotonic() - start), flush=True)
    elif asked.command == "publish":
        for page in asked.pages:
            print(f"published {publish(page, asked.profile).name}")
    elif asked.command == "scoreboard":
        from lib.book import scoreboard

        board = scoreboard.build("smoke" if asked.profile == "smoke" else None)
        print(scoreboard.summary(asked.profile))
        print(f"in full: {board.relative_to(ROOT)}")
    elif asked.command == "grade":
        table = grade(asked.notebooks, asked.out, asked.limit)
        print(table.drop(columns="hints").to_string(index=False))
        print(f"with the hints: {asked.out}")
    elif asked.command == "html":
        from lib.book.site import build  # only here: it needs the extra `html`

        print(f"open {build(asked.out)}")
    else:
        print(f"registered the kernel {register_kernel()}")


ENVIRONMENT = {  # of the kernels that run the pages; the Makefile sets the same for tests and benchmarks
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # else each kernel start prints a debugger's advice
    "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads crawl on a machine that does other work too
    # glibc would give each large block back to the system and ask for it anew at the next layer, which costs CPU runs
    # of small networks much of their time
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "MALLOC_TOP_PAD_": str(2**28),
}


def main() -> int:
    """Run a command; a WorkbookError is one sentence on stderr and exit code 1."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with contextlib.suppress(KeyboardInterrupt):
        try:
            execute(parser().parse_args())
            return 0
        except WorkbookError as error:
            print(f"error: {error}", file=sys.stderr)
    return 1

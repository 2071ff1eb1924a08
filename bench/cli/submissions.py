"""Commands that make entries of runs, and that check what others have made."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import RUNS, Data, Out, Results, TaskFolders, find, recover, roots
from bench.errors import BenchError, UsageError

if TYPE_CHECKING:
    from bench.checks import Report, Status
    from bench.checks.setting import Setting
    from bench.record import Record
    from bench.reevaluation import Reevaluation
    from bench.submission import Reevaluated, Upstream
    from bench.submit import Packed


class How(StrEnum):
    text = "text"
    json = "json"
    github = "github"


def submit(
    runs: Annotated[list[str] | None, typer.Argument(help="Runs of one entry.")] = None,
    title: Annotated[str, typer.Option(help="What was trained, and how.")] = "",
    authors: Annotated[
        list[str] | None, typer.Option(help="A name each, or several between semicolons.")
    ] = None,
    track: Annotated[
        str | None, typer.Option(help="scratch, finetune or open; else as the runs say.")
    ] = None,
    link: Annotated[
        list[str] | None, typer.Option(help="https address of a paper or code (repeatable).")
    ] = None,
    description: Annotated[str, typer.Option(help="Some sentences.")] = "",
    name: Annotated[str | None, typer.Option(help="Of the entry's folder.")] = None,
    weights: Annotated[
        bool, typer.Option("--weights", help="With the weights that the runs have kept.")
    ] = False,
    upstream_kwh: Annotated[
        str | None,
        typer.Option(metavar="KWH", help="Of pretraining by others; 'unknown' if nobody says."),
    ] = None,
    upstream_source: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Who says so: an address, a paper.")
    ] = None,
    uses: Annotated[int, typer.Option(min=1, help="Trainings that it is spread over.")] = 1,
    supersedes: Annotated[
        str | None, typer.Option(metavar="TASK/ENTRY", help="What this corrects.")
    ] = None,
    verifies: Annotated[
        str | None, typer.Option(metavar="TASK/ENTRY", help="Whose training this repeats (T3).")
    ] = None,
    retract: Annotated[
        str | None, typer.Option(metavar="TASK/ENTRY", help="Take an entry back; no runs.")
    ] = None,
    reevaluates: Annotated[
        str | None,
        typer.Option(
            metavar="TASK/ENTRY", help="Let its weights predict, and say so (T2); no runs."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="For --reevaluates: auto, cpu, cuda:0.")] = "auto",
    reason: Annotated[str, typer.Option(help="Of a retraction or a correction.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check what would be made; write nothing.")
    ] = False,
    data: Data = None,
    results: Results = None,
    out: Out = RUNS,
    tasks: TaskFolders = None,
) -> None:
    """Make an entry of runs, checked, ready for a pull request."""
    from bench import record as records
    from bench import submit as submitting
    from bench.checks.setting import Setting

    names = [part.strip() for text in authors or [] for part in text.split(";") if part.strip()]
    if not names:
        raise UsageError("nobody has written it", "--authors 'A. Turing; G. Hopper'")
    recover(out)
    root = roots(results, out)[0][0]
    setting = Setting(root, str(data) if data else None, tasks or [])
    if runs and (retract or reevaluates):
        what = "retraction" if retract else "reevaluation"
        raise UsageError(f"a {what} takes no runs", "leave them out")
    with _shown_why():
        if retract:
            if not reason:
                raise UsageError("a retraction has a reason", "--reason 'the plug was loose'")
            made = submitting.retract(retract, reason, names, root, setting.around, dry=dry_run)
        elif reevaluates:
            found = _agreeing(root / reevaluates, setting, device)
            made = submitting.vouch(root / reevaluates, found, names, setting.around, dry=dry_run)
        else:
            folders = _named(runs, title, results, out)
            declared = _upstream(records.read(folders[0]), upstream_kwh, upstream_source, uses)
            asked = submitting.Asked(
                title, names, track, link or [], description, name, supersedes, verifies, reason,
                declared, weights,
            )  # fmt: skip
            ledger = [*records.folders([out]), *folders]
            made = submitting.pack(folders, asked, root, ledger, setting.around, dry=dry_run)
    _tell(made, dry_run)


def _named(runs: list[str] | None, title: str, results: Path | None, out: Path) -> list[Path]:
    """The folders of the runs that an entry is to be made of."""
    if not runs:
        raise UsageError("no run is named", "bench submit RUN RUN RUN; `ls runs/<task>` has ids")
    if not title:
        raise UsageError("the entry has no title", "--title 'BERT-base, half of its layers'")
    return [find(run, results, out) for run in runs]


@contextmanager
def _shown_why() -> Iterator[None]:
    """What the checks have said of a submission that is refused."""
    from bench.submit import Refused

    try:
        yield
    except Refused as refused:
        _print_text([refused.report])
        raise


def _upstream(first: Record, kwh: str | None, source: str | None, uses: int) -> list[Upstream]:
    """What others have spent on the weights that the runs made use of: as it is typed of those that
    they began with; of a teacher's, and where nothing is typed, as it was published."""
    from bench.checks.protocol import pretrained

    if (kwh is None) != (source is None):
        raise UsageError("--upstream-kwh and --upstream-source go together", "kWh, and who says so")
    wanted = list(dict.fromkeys(pretrained(first)))
    if kwh is not None and not wanted:
        raise UsageError("these runs made use of no weights of others", "leave --upstream-kwh out")
    typed = [(kwh, source), *[(None, None)] * len(wanted)]
    said = [_declared(sha256, first, *t) for sha256, t in zip(wanted, typed, strict=False)]
    return [one.model_copy(update={"uses": uses}) for one in said]


def _declared(sha256: str, first: Record, kwh: str | None, source: str | None) -> Upstream:
    from pydantic import ValidationError

    from bench import upstream
    from bench.errors import first_fault
    from bench.submission import Upstream

    known = upstream.proposed(sha256)
    what = known.what if known else f"pretraining of {first.spec.model}"
    if kwh is None and known:
        return known
    if kwh is None:
        raise UsageError(
            f"the {what} was paid by others, and nobody has told bench what it took",
            "--upstream-kwh KWH --upstream-source WHERE; or --upstream-kwh unknown, with where "
            "you looked",
        )
    facts = {"what": what, "checkpoint_sha256": sha256, "energy_kwh": _kwh(kwh), "source": source}
    try:
        return Upstream.model_validate(facts)
    except ValidationError as error:
        raise UsageError(
            f"--upstream-source: {first_fault(error)}", "an address, a paper"
        ) from None


def _kwh(text: str) -> float | None:
    import math

    if text.lower() == "unknown":
        return None
    try:
        kwh = float(text)
    except ValueError:
        kwh = math.nan
    if not 0 <= kwh < math.inf:
        raise UsageError(f"--upstream-kwh {text} is no energy", "a number of kWh, or unknown")
    return kwh


def _tell(packed: Packed, dry: bool) -> None:
    from bench.submission import place
    from bench.units import show_bytes

    for record in packed.added:
        end = f": {record.failure}" if record.failure else ""
        print(f"added  {record.run_id}, another attempt at the same ({record.status}{end})")
    _print_text([packed.report])
    verb = "would make" if dry else "made"
    size = show_bytes(packed.bytes)
    if retracted := packed.entry.retracts:
        subject = f"Retract {retracted}"
        print(f"{verb}   {packed.folder}: no board shows {retracted} then ({size})")
    else:
        n, subject = len(packed.entry.runs), f"Add {place(packed.folder)}"
        runs = f"{n} run{'s'[: n > 1]}, " if n else ""
        print(f"{verb}   {packed.folder} ({runs}{size})")
    if not dry:
        _steps(packed.folder, subject)


def _steps(folder: Path, subject: str) -> None:
    branch = f"submit-{folder.parent.name}-{folder.name}"
    for head, line in zip(
        ("next", "", "", ""),
        (
            f"git switch -c {branch}",
            f"git add {folder}",
            f"git commit -m '{subject}'",
            "git push -u origin HEAD, and open a pull request: it is checked there again",
        ),
        strict=True,
    ):
        print(f"{head:<7}{line}")


def check(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Entries, runs, a task's folder, or results/.")
    ] = None,
    format: Annotated[How, typer.Option(help="How to print it.")] = How.text,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="What holds and what was skipped, too.")
    ] = False,
    show_rules: Annotated[bool, typer.Option("--rules", help="Print what is checked.")] = False,
    reevaluate: Annotated[
        bool, typer.Option("--reevaluate", help="Let the submitted weights predict again (T2).")
    ] = False,
    present: Annotated[
        Path | None,
        typer.Option(
            "--added-to",
            metavar="DIR",
            help="results/ as it is: check what FOLDER, results/ as it would be, adds.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="For --reevaluate: auto, cpu, cuda:0.")] = "auto",
    data: Data = None,
    results: Results = None,
    tasks: TaskFolders = None,
) -> None:
    """Derive every number of submissions again, and say where one does not follow.

    Exits with 0 where all is well, 1 for an error, 3 where there are only warnings.
    """
    from bench import checks
    from bench.checks import board, report
    from bench.checks.setting import Setting

    if show_rules:
        for rule in checks.rules():
            print(f"{rule.id:<4} {rule.name}: {rule.text}")
        return
    if not folders:
        raise UsageError("nothing is named that could be checked", "bench check results/")
    if data and data not in ("hub", "embedded") and not Path(data).is_dir():
        raise UsageError(f"there is no folder {data}", "--data names a folder, hub or embedded")
    root = roots(results or present, RUNS)[0][0]
    setting = Setting(root, str(data) if data else None, tasks or [])
    reports: list[Report] = []
    if present:
        reports, folders = _proposal(folders, present, setting)
    reports += _checked(setting, folders)
    if reevaluate:
        reports = [_reevaluated(report, setting, device) for report in reports]
    match format:
        case How.json:
            print(report.as_json(reports))
        case How.github:
            print("\n".join(report.as_github(reports)))
        case How.text:
            _print_text(reports, verbose)
            print("\n".join(board.agreement(reports, setting.cards)))
    raise typer.Exit(report.exit_code(reports))


def _proposal(
    folders: list[Path], present: Path, setting: Setting
) -> tuple[list[Report], list[Path]]:
    """What is said of the tree, and the entries that it adds."""
    from bench.checks.proposal import Proposal

    if len(folders) > 1:
        raise UsageError("--added-to compares one folder", "bench check NEW --added-to OLD")
    proposal = Proposal(folders[0], present)
    setting.beside = proposal.added()
    return [proposal.report(setting.around(folders[0]))], list(setting.beside)


def _checked(setting: Setting, folders: list[Path]) -> list[Report]:
    """With a line of progress where somebody looks on."""
    reports = []
    looking = sys.stderr.isatty()
    for done, total, one in setting.reports(folders):
        reports.append(one)
        if looking:
            print(f"\rchecked {done} of {total} entries", end="", file=sys.stderr, flush=True)
    if looking:
        print("\r\033[K", end="", file=sys.stderr)
    return reports


def _reevaluated(report: Report, setting: Setting, device: str) -> Report:
    """With what the weights of its runs say again."""
    from dataclasses import replace

    from bench.checks import Verdict

    status: dict[str, Status] = {"agrees": "pass", "disagrees": "error"}
    said = [
        Verdict(
            "T2", "weights", status.get(one.verdict, "skipped"), f"{report.where}/{one.run_id}",
            one.message, one.numbers,
        )
        for one in _again(report, setting, device)
    ]  # fmt: skip
    return replace(report, verdicts=(*report.verdicts, *said))


def _agreeing(folder: Path, setting: Setting, device: str) -> list[Reevaluated]:
    """What the weights of an entry said again, if they all said the same."""
    from bench.checks.bundle import found
    from bench.submission import NAME, Reevaluated

    if not (folder / NAME).is_file():
        raise UsageError(f"there is no entry {folder}", "name it as <task>/<entry>")
    (entry,) = found(folder)
    said = list(_again(setting.report(entry), setting, device))
    for one in said:
        print(f"{one.verdict}: {one.run_id}: {one.message}")
    if not said or any(one.verdict != "agrees" for one in said):
        raise BenchError("nothing was submitted: not all weights were evaluated and agree")
    return [
        Reevaluated(
            run_id=one.run_id, weights_sha256=one.weights_sha256 or "", metric=one.now or 0.0,
            same_share=one.same_share or 0.0, rows=one.rows or 0,
        )
        for one in said
    ]  # fmt: skip


def _again(report: Report, setting: Setting, device: str) -> Iterator[Reevaluation]:
    """Of each run that counts, but for copies of teachers, in an order that does not depend on the
    machine."""
    from bench.checks.bundle import EntryFolder
    from bench.reevaluation import reevaluate

    alone = (report.folder / "record.json").is_file()
    entry = EntryFolder(report.folder, report.where)
    charged = [] if alone or entry.fault("entry") else entry.entry.charged
    for record in sorted(report.derived, key=lambda r: r.run_id):
        card = setting.cards.get(record.spec.task)
        if card is None or not record.rankable or record.run_id in charged:
            continue
        folder = report.folder if alone else report.folder / record.run_id
        print(f"{record.run_id}: its weights predict", file=sys.stderr, flush=True)
        yield reevaluate(folder, card, setting.data, device)


def _print_text(reports: list[Report], verbose: bool = False) -> None:
    from bench.checks import report

    for line in report.as_text(reports, verbose):
        print(line)

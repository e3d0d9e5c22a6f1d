"""`kennel data`: look at photographs before they train."""

from dataclasses import asdict
from pathlib import Path

import click

from jobs.commands.session import JOB_FAILED, CommandFailedError, Session, with_session

FOLDER = click.Path(path_type=Path)


@click.group()
def data() -> None:
    """Look at folders of photographs, and split them."""


@data.command()
@click.argument("folder", type=FOLDER)
@click.option("--sheet", type=FOLDER, help="PNG with some photographs of each class.")
@with_session
def check(session: Session, folder: Path, sheet: Path | None) -> None:
    """Count classes; find what is unreadable, doubled, in several splits or classes, or too small.

    Exits with 1 when training on it would fail or mislead.
    """
    from jobs.data import check as look
    from jobs.data import contact_sheet

    report, photographs = look(folder)
    if sheet is not None:
        contact_sheet(photographs, sheet)
    if session.as_json:
        session.emit({**asdict(report), "is_usable": report.is_usable})
    else:
        splits = list(report.counts)
        names = sorted({name for classes in report.counts.values() for name in classes})
        rows = [(name, *(report.counts[split].get(name, 0) for split in splits)) for name in names]
        total = ("all", *(sum(report.counts[split].values()) for split in splits))
        session.table(str(folder), ("class", *splits), [*rows, total])
        if report.sizes:
            sizes = report.sizes
            session.say(f"shorter side in pixels: {sizes['min']} to {sizes['max']}, median {sizes['median']}")
        for name, reason in report.unreadable.items():
            session.say(f"unreadable: {name}: {reason}")
        for title, groups in (("doubled", report.duplicates), ("in several splits", report.leaks),
                              ("in several classes", report.conflicts)):  # fmt: skip
            for group in groups[:10]:
                session.say(f"{title}: {' = '.join(group)}")
        for warning in report.warnings:
            session.say(f"! {warning}")
        if sheet is not None:
            session.say(f"contact sheet: {sheet}")
        session.say(f"next: kennel train {folder}" if report.is_usable else "not fit to train on yet")
    if not report.is_usable:
        raise CommandFailedError(JOB_FAILED)


@data.command()
@click.argument("folder", type=FOLDER)
@click.argument("target", type=FOLDER)
@click.option("--validation", default=0.15, show_default=True, help="Share of each class.")
@click.option("--test", default=0.15, show_default=True, help="Share of each class.")
@click.option("--seed", default=0, show_default=True)
@with_session
def split(session: Session, folder: Path, target: Path, validation: float, test: float, seed: int) -> None:
    """Split class folders into train, validation and test, without the same photograph in two of them."""
    from jobs.data import split as divide

    counts = divide(folder, target, validation=validation, test=test, seed=seed)
    totals = {name: sum(classes.values()) for name, classes in counts.items()}
    if session.as_json:
        session.emit({"folder": str(target), "counts": counts})
    else:
        session.say(f"{target}: " + ", ".join(f"{number} {name}" for name, number in totals.items()))
        session.say(f"next: kennel data check {target}")

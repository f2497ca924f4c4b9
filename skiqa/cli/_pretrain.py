"""``skiqa pretrain``."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skiqa._progress import progress_bar
from skiqa.cli._files import (
    Failure,
    find_images,
    in_the_way,
    jobs_option,
    printable,
    recursive_option,
    unwritable,
    warnings_shown,
)
from skiqa.distributed._rows import reason
from skiqa.exceptions import ImageError
from skiqa.objectives import NAMES

if TYPE_CHECKING:
    from skiqa import ContrastiveQualityEncoder
    from skiqa._training.schedule import Plan
    from skiqa._types import Pixels

__all__ = ["pretrain"]

_CHUNK = 20  # generated images between two steps of the progress bar


@click.command()
@click.argument("paths", nargs=-1, type=click.Path())
@click.option("--out", required=True, metavar="FILE", help="Encoder to write, such as my.skiqa.")
@click.option(
    "--objective",
    type=click.Choice(NAMES),
    default="contrique",
    show_default=True,
    help="What is trained for.",
)
@click.option(
    "--backbone", metavar="NAME", help="timm's name of a network; without it that of the weights."
)
@click.option(
    "--weights",
    metavar="WHICH",
    help="To start from: default (the bundled ones), timm, none (random), or a file. Without it "
    "none for a --backbone, else default.",
)
@click.option(
    "--epochs",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Passes over the photos.",
)
@click.option("--batch-size", type=click.IntRange(2), help="Photos a step.")
@click.option(
    "--view-size", type=click.IntRange(8), help="Side of what enters the network, in pixels."
)
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="Peak rate.")
@click.option("--weight-decay", type=click.FloatRange(0), help="L2 penalty of the weights.")
@click.option(
    "--trained-first-stages",
    type=click.IntRange(1),
    help="Train only so many of the network's stages, the first ones.",
)
@click.option(
    "--start-penalty",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Weight of the loss that keeps features near those of the starting weights.",
)
@click.option(
    "--micro-batch-size",
    type=click.IntRange(1),
    help="Views in memory at a time: a large batch on a small machine.",
)
@click.option(
    "--max-grad-norm",
    type=click.FloatRange(0, min_open=True),
    help="Longer gradients are scaled down to it.",
)
@click.option(
    "--keep-start", is_flag=True, help="Keep the starting network's features beside the trained."
)
@click.option(
    "--content-backbone",
    metavar="NAME",
    help="A second network, not trained, whose features stand beside: timm's name, or a file.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ...")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
)
@jobs_option
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option(
    "--on-error",
    type=click.Choice(["nan", "raise"]),
    default="raise",
    show_default=True,
    help="An unreadable photo is left out, or the end.",
)
@click.option(
    "--dead-leaves",
    type=click.IntRange(1),
    metavar="N",
    help="Train on N generated images of discs, with PATHS or without any; they are kept in "
    "memory.",
)
@click.option("--textured", is_flag=True, help="Dead leaves with textures, not flat.")
@click.option(
    "--checkpoint-dir",
    metavar="DIR",
    help="Folder of the checkpoints that a killed run goes on from; FILE.training.",
)
@recursive_option
@click.option("--overwrite", is_flag=True, help="Replace the --out FILE of an earlier run.")
@click.pass_context
def pretrain(
    context: click.Context,
    /,
    paths: tuple[str, ...],
    out: str,
    backbone: str | None,
    weights: str | None,
    jobs: int,
    seed: int,
    dead_leaves: int | None,
    textured: bool,
    checkpoint_dir: str | None,
    recursive: bool,
    overwrite: bool,
    **parameters: Any,
) -> None:
    """Train an encoder on photos; no scores are needed.

    PATHS are image files, folders, patterns, or - for a list of paths on standard input. Options
    without a default have the objective's own: see ContrastiveQualityEncoder, whose parameters they
    are.

    A run that was interrupted or killed goes on from its last checkpoint when the same command is
    given again; there is one after each epoch and each minute. Under torchrun all processes train
    together, and the first one writes.

    Exit status: 0 if the encoder was written, 2 if not, 130 if interrupted.
    """
    if not paths and not dead_leaves:
        raise click.UsageError("give photos to train on, or --dead-leaves N")
    if textured and not dead_leaves:
        raise click.UsageError("--textured is about --dead-leaves N")
    files = find_images(paths, recursive) if paths else []
    if weights is None:
        weights = "none" if backbone else "default"

    from skiqa import ContrastiveQualityEncoder
    from skiqa._training.distributed import from_first, process_group, rank

    with process_group(), warnings_shown(who := f"process {rank()}: " if rank() else ""):
        if problem := from_first(_why_not_written(out, files, overwrite)):
            if rank():
                context.exit(2)  # the first one says why
            raise Failure(problem)
        encoder = ContrastiveQualityEncoder(
            backbone,
            weights=None if weights == "none" else weights,
            n_jobs=jobs,
            random_state=seed,
            checkpoint_dir=checkpoint_dir or f"{out}.training",
            verbose=int(rank() == 0),
            **parameters,
        )
        try:
            _train(encoder, files, dead_leaves or 0, textured, seed, out)
        except KeyboardInterrupt:
            if rank() == 0:
                click.echo(f"interrupted; {_how_to_go_on(encoder)}", err=True)
            context.exit(130)
        except (ValueError, TypeError, RuntimeError, OSError) as error:
            raise Failure(f"{who}{_in_one_line(error, files)}") from None


def _train(
    encoder: ContrastiveQualityEncoder,
    files: Sequence[str],
    n_leaves: int,
    textured: bool,
    seed: int,
    out: str,
) -> None:
    """Train on files and so many dead leaves; write the encoder, and say so."""
    from skiqa._training.distributed import rank

    n_images = len(files) + n_leaves
    plan = encoder.training_plan(n_images)
    leaves = _make_leaves(encoder, plan, n_leaves, textured, seed) if n_leaves else []
    observer = _Observer()
    encoder.set_callbacks(observer).fit([*files, *leaves])
    if rank() == 0:
        _save(encoder, out)
        _print_summary(encoder, plan, n_images, observer, out)


def _why_not_written(out: str, files: Sequence[str], overwrite: bool) -> str | None:
    """Return why the result cannot be written, before hours of training; None if it can."""
    there = [file for file in files if os.path.exists(file) and os.path.exists(out)]
    if any(os.path.samefile(file, out) for file in there):
        return f"{printable(out)} is one of the photos: give another file"
    try:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"cannot write {printable(out)}: {error.strerror}"
    return in_the_way(out, overwrite)


def _make_leaves(
    encoder: ContrastiveQualityEncoder, plan: Plan, n: int, textured: bool, seed: int
) -> list[Pixels]:
    """Generate images that fill the windows which are cut from them."""
    from sklearn.utils import check_random_state

    from skiqa.datasets import make_dead_leaves

    side = encoder.make_objective().window_size(plan.view_size)
    random = check_random_state(seed)
    images: list[Pixels] = []
    with progress_bar("Dead leaves", n, enabled=bool(encoder.verbose)) as advance:
        while len(images) < n:
            made = make_dead_leaves(
                min(_CHUNK, n - len(images)),
                image_shape=(side, side),
                textured=textured,
                random_state=random,
            )
            images.extend(made)
            advance(len(made))
    return images


class _Observer:
    """A callback of scikit-learn: says where a run goes on from, counts steps and their time.

    Attributes
    ----------
    steps : int
        Taken in this run, not before it was interrupted.
    seconds : float
        What they took, checkpoints included.
    """

    def __init__(self) -> None:
        self.steps, self.seconds = 0, 0.0
        self._began: float | None = None

    def setup(self, estimator: ContrastiveQualityEncoder, context: Any) -> None:
        """Do nothing."""

    def teardown(self, estimator: ContrastiveQualityEncoder, context: Any) -> None:
        """Do nothing."""

    def on_fit_task_begin(self, estimator: ContrastiveQualityEncoder, context: Any) -> None:
        """Look for checkpoints before the first epoch, which writes its own."""
        if context.task_name == "epoch" and self._began is None:
            if estimator.checkpoint_path_ is not None:
                _print_where_it_goes_on(Path(estimator.checkpoint_path_))
            self._began = time.monotonic()

    def on_fit_task_end(self, estimator: ContrastiveQualityEncoder, context: Any) -> None:
        """Count a step."""
        if context.task_name == "batch" and self._began is not None:
            self.steps += 1
            self.seconds = time.monotonic() - self._began


def _print_where_it_goes_on(run: Path) -> None:
    """Tell of the checkpoints in a run's folder, or in those beside it."""
    from skiqa._training.checkpoints import newest_step

    if (step := newest_step(run)) is not None:
        click.echo(f"going on from step {step}", err=True)
    elif any(newest_step(other) is not None for other in run.parent.glob("*/")):
        click.echo(
            f"{printable(run.parent)} holds a run of other photos or options: this one starts anew",
            err=True,
        )


def _how_to_go_on(encoder: ContrastiveQualityEncoder) -> str:
    from skiqa._training.checkpoints import newest_step

    run = getattr(encoder, "checkpoint_path_", None)  # before `fit` there is none
    step = None if run is None else newest_step(run)
    if step is None:
        return "there is no checkpoint yet, the same command starts anew"
    return f"the same command goes on from step {step}"


def _save(encoder: ContrastiveQualityEncoder, out: str) -> None:
    from skiqa.persistence import save

    try:
        save(encoder, out)
    except OSError as error:
        raise unwritable(out, error) from None
    folder = Path(str(encoder.checkpoint_dir))
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _print_summary(
    encoder: ContrastiveQualityEncoder, plan: Plan, n_images: int, observer: _Observer, out: str
) -> None:
    plateau = encoder.objective_.plateau(plan.batch_size)
    click.echo("epoch  loss" + ("" if plateau is None else "   below the plateau"))
    for epoch, loss in enumerate(encoder.loss_curve_, 1):
        below = "" if plateau is None else f"  {plateau - loss:+.3f}"
        click.echo(f"{epoch:5}  {loss:.3f}{below}")
    if plateau is not None:
        click.echo(f"The plateau, {plateau:.3f}, is the loss of features that are all equal.")
    if observer.steps:
        speed = f", {observer.steps * plan.batch_size / observer.seconds:.1f} photos/s"
    else:
        click.echo("went on from the last step: nothing was left to train", err=True)
        speed = ""
    click.echo(f"{encoder.n_iter_} epochs of {n_images} images{speed}")
    click.echo(f"{printable(out)}: {encoder.backbone_name_}, {os.path.getsize(out) / 1e6:.1f} MB")
    click.echo(
        "Next, in Python: make_pipeline(skiqa.ContrastiveQualityEncoder("
        f"weights={printable(out)!r}), Ridge()).fit(photos, scores)"
    )


def _in_one_line(error: Exception, files: Sequence[str]) -> str:
    """Return an error of the encoder in the words of the command line."""
    text = str(error) or type(error).__name__
    if isinstance(error, ImageError) and text.startswith("X["):
        index = int(text[2 : text.index("]")])
        if index < len(files):
            return f"{printable(files[index])}: {reason(error)}; leave it out, or --on-error nan"
    return " ".join(text.split())

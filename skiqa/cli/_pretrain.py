"""``skiqa pretrain``."""

import math
import os
import time
from pathlib import Path

import click

from skiqa.cli._files import (
    Failure,
    find_images,
    in_the_way,
    jobs_option,
    printable,
    reason,
    recursive_option,
    unwritable,
    warnings_shown,
)

__all__ = ["pretrain"]

OBJECTIVES = ("arniqa", "contrique", "qpt", "reiqa", "weighted")
# Rows that nt_xent compares in a batch of n. A queue fills: no one number is the plateau there.
ROWS = {
    "arniqa": lambda n: 4 * (n // 2),  # in pairs
    "contrique": lambda n: 8 * n,
    "weighted": lambda n: 8 * n,
}
_CHUNK = 20  # generated images between two steps of the progress bar


@click.command()
@click.argument("paths", nargs=-1, type=click.Path())
@click.option("--out", required=True, metavar="FILE", help="Encoder to write, such as my.skiqa.")
@click.option("--objective", type=click.Choice(OBJECTIVES), default="contrique", show_default=True)
@click.option("--backbone", metavar="NAME", help="timm's name of a network; that of the weights.")
@click.option(
    "--weights",
    metavar="WHICH",
    help="To start from: default (the bundled ones), timm, none (random), or a file. Without it "
    "none for a --backbone, else default.",
)
@click.option("--epochs", type=click.IntRange(1), default=10, show_default=True)
@click.option("--batch-size", type=click.IntRange(2), help="Photos a step.")
@click.option("--view-size", type=click.IntRange(8), help="Side of a view, in pixels.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="Peak rate.")
@click.option("--weight-decay", type=click.FloatRange(0), help="L2 penalty of the weights.")
@click.option("--trained-first-stages", type=click.IntRange(1), help="Train the first stages only.")
@click.option(
    "--start-penalty",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="How strongly features are held to those of the start.",
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
@click.option("--keep-start", is_flag=True, help="Features of the start stand beside the trained.")
@click.option(
    "--content-backbone",
    metavar="NAME",
    help="A second network, not trained, whose features stand beside: a name of timm's, or a file.",
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
    help="Train on N generated images of discs, with PHOTOS or without any; they are kept in "
    "memory.",
)
@click.option("--textured", is_flag=True, help="Dead leaves with textures, not flat.")
@click.option(
    "--checkpoint-dir", metavar="DIR", help="Where a killed run goes on from; FILE.training."
)
@recursive_option
@click.option("--overwrite", is_flag=True, help="Replace the --out FILE of an earlier run.")
@click.pass_context
def pretrain(
    context,
    paths,
    out,
    backbone,
    weights,
    jobs,
    seed,
    dead_leaves,
    textured,
    checkpoint_dir,
    recursive,
    overwrite,
    **parameters,
):
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

    from skiqa._training.distributed import from_first, process_group, rank

    with process_group(), warnings_shown(who := f"process {rank()}: " if rank() else ""):
        if problem := from_first(_problem(out, files, overwrite)):
            if rank():
                context.exit(2)  # the first one says why
            raise Failure(problem)
        encoder = _encoder(
            backbone,
            weights=None if weights == "none" else weights,
            n_jobs=jobs,
            random_state=seed,
            checkpoint_dir=checkpoint_dir or f"{out}.training",
            **parameters,
        )
        try:
            plan, n = _plan(encoder, len(files) + (dead_leaves or 0))
            leaves = _leaves(encoder, plan, dead_leaves, textured, seed) if dead_leaves else []
            pace = _Pace()
            encoder.set_callbacks(pace).fit([*files, *leaves])
            if rank() == 0:
                _save(encoder, out)
                _summary(encoder, plan, n, pace, out)
        except KeyboardInterrupt:
            if rank() == 0:
                click.echo(f"interrupted; {_hint(encoder)}", err=True)
            context.exit(130)
        except (ValueError, TypeError, RuntimeError, OSError) as error:
            raise Failure(f"{who}{_words(error, files)}") from None


def _problem(out, files, overwrite):
    """Return why the result cannot be written, before hours of training; None if it can."""
    if any(os.path.exists(file) and os.path.exists(out) and os.path.samefile(file, out)
           for file in files):  # fmt: skip
        return f"{printable(out)} is one of the photos: give another file"
    try:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"cannot write {printable(out)}: {error.strerror}"
    return in_the_way(out, overwrite)


def _encoder(backbone, **parameters):
    """Return an encoder that says where its run goes on from, and knows it afterwards."""
    from skiqa import ContrastiveQualityEncoder
    from skiqa._training.checkpoints import TrainingFolder
    from skiqa._training.distributed import rank

    class Encoder(ContrastiveQualityEncoder):
        run = None

        def _identity(self, *what):
            identity = super()._identity(*what)
            self.run = TrainingFolder(self.checkpoint_dir, identity).path
            if (step := _step(self.run)) is not None:
                click.echo(f"going on from step {step}", err=True)
            elif any(map(_step, _runs(self.checkpoint_dir))):
                click.echo(
                    f"{printable(self.checkpoint_dir)} holds a run of other photos or options: "
                    "this one starts anew",
                    err=True,
                )
            return identity

    return Encoder(backbone, **parameters, verbose=int(rank() == 0 and os.isatty(2)))


def _runs(folder):
    return [path for path in Path(folder).glob("*") if path.is_dir()]


def _step(run):
    """Return the step of the newest checkpoint of a run; None if there is none."""
    steps = [int(file.stem.removeprefix("step-")) for file in run.glob("step-*.pt")]
    return max(steps, default=None)


def _hint(encoder):
    step = None if encoder.run is None else _step(encoder.run)
    if step is None:
        return "there is no checkpoint yet, the same command starts anew"
    return f"the same command goes on from step {step}"


def _plan(encoder, n):
    """Return the numbers of the training of n images, and n."""
    encoder._validate_params()
    return encoder._plan(range(n), epochs=encoder.epochs), n


def _leaves(encoder, plan, n, textured, seed):
    """Generate images that fill the windows which are cut from them."""
    from sklearn.utils import check_random_state

    from skiqa._progress import progress_bar
    from skiqa.datasets import make_dead_leaves

    side = encoder._objective().window_size(plan.view_size)
    random, images = check_random_state(seed), []
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


class _Pace:
    """A callback of scikit-learn that counts steps and their time, checkpoints included."""

    def __init__(self):
        self.steps, self.start, self.seconds = 0, None, 0.0

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        if context.task_name == "epoch" and self.start is None:
            self.start = time.monotonic()

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "batch":
            self.steps += 1
            self.seconds = time.monotonic() - self.start


def _save(encoder, out):
    from skiqa.persistence import save

    try:
        save(encoder, out)
    except OSError as error:
        raise unwritable(out, error) from None
    folder = Path(encoder.checkpoint_dir)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _summary(encoder, plan, n, pace, out):
    rows = ROWS.get(encoder.objective)
    plateau = rows and math.log(rows(plan.batch_size) - 1)
    click.echo("epoch  loss" + ("   below the plateau" if plateau else ""))
    for epoch, loss in enumerate(encoder.loss_curve_, 1):
        click.echo(f"{epoch:5}  {loss:.3f}" + (f"  {plateau - loss:+.3f}" if plateau else ""))
    if plateau:
        click.echo(f"The plateau, {plateau:.3f}, is the loss of features that are all equal.")
    speed = f", {pace.steps * plan.batch_size / pace.seconds:.1f} photos/s" if pace.steps else ""
    click.echo(f"{encoder.n_iter_} epochs of {n} images{speed}")
    click.echo(f"{printable(out)}: {encoder.backbone_name_}, {os.path.getsize(out) / 1e6:.1f} MB")
    click.echo(
        "Next, in Python: make_pipeline(skiqa.ContrastiveQualityEncoder("
        f"weights={printable(out)!r}), Ridge()).fit(photos, scores)"
    )


def _words(error, files):
    """Return an error of the encoder in one line, in the words of the command line."""
    from skiqa.exceptions import ImageError

    text = str(error) or type(error).__name__
    if isinstance(error, ImageError) and text.startswith("X["):
        index = int(text[2 : text.index("]")])
        if index < len(files):
            text = reason(error, index, files[index])
            return f"{printable(files[index])}: {text}; leave it out, or --on-error nan"
    return " ".join(text.split())

"""``skiqa fit``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, TypeVar

import click

from skiqa._inputs.addresses import public_name
from skiqa._sources.kinds import path_of
from skiqa.cli._files import Failure, in_the_way, jobs_option, printable, unwritable, warnings_shown
from skiqa.cli._rated_pictures import RatedPictures, rated_pictures
from skiqa.cli._stopping import exit_status, told_to_end

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import Pipeline
    from sklearn.utils import Bunch

    from skiqa import ContrastiveQualityEncoder
    from skiqa._types import Floats
    from skiqa.datasets._tables import Rows
    from skiqa.model_selection import Evaluation

__all__ = ["column_options", "fit", "load_table"]

MIN_CONTENTS = 10  # fewer leave nothing to hold back
ALPHAS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # around the 1 that features suit
LEVEL = 0.8  # of the interval that is shown
NO_INTERVALS = (
    "no intervals, for a fine-tuned network has seen these photos: in Python, "
    "skiqa.persistence.calibrate_intervals adds them by other rated ones"
)

_COLUMNS = (
    click.option("--image-column", metavar="NAME", help="File names; else file, image, name, ..."),
    click.option("--score-column", metavar="NAME", help="Ratings; else mos, score, rating, ..."),
    click.option(
        "--group-column", metavar="NAME", help="Contents; else group, scene, reference, ..."
    ),
    click.option("--lower-is-better", is_flag=True, help="The ratings are DMOS or the like."),
)


_OPTIONS = {
    "image": "--image-column",
    "target": "--score-column",
    "target_std": "--std-column",
    "groups": "--group-column",
}

_Command = TypeVar("_Command", bound=Callable[..., Any])


def column_options(command: _Command) -> _Command:
    """Add the options that say how a table of ratings is read; see :func:`load_table`."""
    for option in reversed(_COLUMNS):
        command = option(command)
    return command


def load_table(
    images: str,
    ratings: str,
    image_column: str | None,
    score_column: str | None,
    group_column: str | None,
    lower_is_better: bool,
    split: str | None = None,
    std_column: str | None = None,
    rows: Rows | None = None,
) -> Bunch:
    """Return the Bunch of a table of ratings, with options as people give them.

    `rows` is the table, if it has been read.

    Raises
    ------
    OSError, ValueError, ImportError
        In words for those who give options.
    """
    from skiqa.datasets._folder import MissingColumn, bunch_of_rows, load_folder

    given: dict[str, Any] = {"image": image_column, "target": score_column}
    given |= {"target_std": std_column, "groups": group_column}
    how: dict[str, Any] = {"higher_is_better": not lower_is_better, "split": split}
    try:
        if rows is not None:
            return bunch_of_rows(rows, printable(ratings), Path(images), given, **how)
        return load_folder(images, ratings, **given, **how)
    except MissingColumn as error:
        dmos = "; of a DMOS, --lower-is-better" if error.key == "target" else ""
        option = _OPTIONS[error.key]
        raise ValueError(f"{error.what}. Say which one it is: {option}{dmos}") from None


@click.command()
@click.argument("ratings")
@click.option(
    "--images",
    metavar="PLACE",
    help="Folder that the file names of RATINGS are relative to; or its address (s3://...), or tar "
    "archives whose members they name. Not needed where RATINGS holds the pictures, too.",
)
@click.option("--out", required=True, metavar="FILE.skiqa", help="Scorer to write.")
@column_options
@click.option(
    "--std-column",
    metavar="NAME",
    help="Deviations of the ratings, each of which then counts 1 / deviation**2 in fitting. None "
    "is used unless it is named.",
)
@click.option(
    "--weights",
    default="default",
    show_default=True,
    metavar="WHICH",
    help="Of the encoder: default (the bundled ones) or a file, as of skiqa pretrain.",
)
@click.option("--cache-dir", metavar="DIR", help="Keep features there for another run.")
@click.option(
    "--fine-tune",
    type=click.IntRange(0),
    default=0,
    metavar="EPOCHS",
    help="Train the last stages of the network too, so many passes; 4 is a good start. With "
    "--cache-dir an hour or so for 3,000 photos of 512 x 512 on one core, and the same command "
    "goes on where it was interrupted; without, hours.",
)
@jobs_option
@click.option("--overwrite", is_flag=True, help="Replace the --out FILE of an earlier run.")
def fit(
    ratings: str,
    images: str | None,
    out: str,
    std_column: str | None,
    weights: str,
    cache_dir: str | None,
    fine_tune: int,
    jobs: int,
    overwrite: bool,
    **columns: Any,
) -> None:
    """Fit a scorer to ratings of one's own.

    RATINGS is a table (.csv, .tsv, .txt or .xlsx) with a row for each image: its file name, its
    rating and, if several show one scene, which. Parquet and Arrow may hold the images, too, or
    their addresses, in the --image-column; several of them are a pattern in quotes.

    Prints how well ratings of contents that took no part are predicted (ten random splits), then
    fits all and writes FILE, for skiqa score --model FILE. Its scores are on the scale of the
    ratings, higher is better. Out of the predictions of contents that took no part come the
    intervals of skiqa score --interval, too; none with --fine-tune.

    Exit status: 0 if the scorer was written, 1 if also an image could not be read, 2 if not.
    """
    if not out.endswith(".skiqa"):
        raise click.BadParameter(f"{printable(out)} must end in .skiqa", param_hint="--out")
    if problem := in_the_way(out, overwrite):
        raise Failure(problem)
    from skiqa.persistence import save

    try:
        with (
            warnings_shown(),
            told_to_end(),
            rated_pictures(ratings, images, columns["image_column"]) as pictures,
        ):
            data = _load_rated(ratings, pictures, columns, std_column)
            encoder, X, unreadable = _compute_features(data.data, weights, cache_dir, jobs)
            for index in unreadable:
                name = printable(pictures.shown(data.data[index]))
                click.echo(f"cannot be read, left out: {name}", err=True)
            kept = [i for i in range(len(X)) if i not in unreadable]
            rated = (data.target[kept], data.groups[kept])
            counts: Floats | None = None
            if data.weights is not None:
                counts = data.weights[kept] / data.weights[kept].mean()
            model, evaluation = _fit_ridge(encoder, X[kept], *rated, counts)
            click.echo(evaluation)
            outcome = None
            if fine_tune:
                paths = data.data[kept]
                model, outcome = _fine_tune(
                    model, paths, *rated, counts, fine_tune, cache_dir, jobs
                )
                click.echo(outcome)
            _describe(model, X[kept], *rated, counts, ratings, evaluation, outcome)
    except KeyboardInterrupt as error:
        click.echo("interrupted" + (": the same command goes on" if cache_dir else ""), err=True)
        sys.exit(exit_status(error))
    try:
        save(model, out)
    except OSError as error:
        raise unwritable(out, error) from None
    click.echo(f"{len(kept)} images, penalty {model[-1].alpha:g}: {printable(out)}")
    click.echo(f"skiqa score --model {printable(out)} PHOTOS")
    sys.exit(1 if unreadable else 0)


def _describe(
    model: Pipeline,
    X: Floats,
    y: Floats,
    groups: npt.NDArray[Any],
    weights: Floats | None,
    ratings: str,
    evaluation: Evaluation,
    outcome: str | None,
) -> None:
    """Give a scorer its card; a fine-tuned one has other features by now, and knows all photos."""
    from skiqa._features.flags import unlike_above

    model[-1].card_ = _card(y, groups, ratings, evaluation)
    if outcome is not None:
        model[-1].card_["fine_tuned"] = outcome
        click.echo(NO_INTERVALS)
    else:
        model[-1].card_["unlike_above"] = unlike_above(X)
        click.echo(_calibrate(model[-1], X, y, groups, weights))


def _card(
    y: Floats, groups: npt.NDArray[Any], ratings: str, evaluation: Evaluation
) -> dict[str, Any]:
    """Return what is known of a scorer: what it was fitted to, on what scale, and how well."""
    name = os.path.basename(path_of(public_name(ratings)))
    return {
        "ratings": name,
        "scale": [float(y.min()), float(y.max()), name],
        "images": len(y),
        "contents": len(set(groups)),
        "date": date.today().isoformat(),
        "medians over splits by content": {
            name: round(float(median(values)), 4) for name, values in evaluation.scores.items()
        },
    }


def _calibrate(
    ridge: Ridge, X: Floats, y: Floats, groups: npt.NDArray[Any], weights: Floats | None
) -> str:
    """Let a ridge say how sure it is, by photos of contents that clones have not seen."""
    from skiqa._intervals import Intervals
    from skiqa._quality import calibrate_in_folds

    params = None if weights is None else {"sample_weight": weights}
    ridge.card_["interval"] = calibrate_in_folds(ridge, X, y, groups, params=params)
    reach = Intervals(ridge.card_, LEVEL).half_width
    return (
        f"ratings of new contents are within {reach:.3g} of the score with probability {LEVEL:g}: "
        f"skiqa score --interval {LEVEL:g}"
    )


def _load_rated(
    ratings: str, pictures: RatedPictures, columns: dict[str, Any], std_column: str | None
) -> Bunch:
    """Return the rated rows of the table as a Bunch of data, target, groups and weights."""
    import numpy as np
    from sklearn.utils import Bunch

    columns = columns | {"image_column": pictures.image_column, "rows": pictures.rows}
    try:
        table = load_table(pictures.folder, ratings, **columns, std_column=std_column)
    except (OSError, ValueError, ImportError) as error:
        raise Failure(str(error)) from None
    groups = np.arange(len(table.data)) if table.groups is None else table.groups
    rated = np.isfinite(table.target)
    if len(set(groups[rated])) < MIN_CONTENTS:
        raise Failure(
            f"{printable(ratings)} has ratings of {len(set(groups[rated]))} contents; at least "
            f"{MIN_CONTENTS} are needed, and some hundreds to be of use"
        )
    found = Bunch(data=table.data[rated], target=table.target[rated], groups=groups[rated])
    found.weights = None if std_column is None else _certainties(table, rated, ratings)
    return found


def _certainties(table: Bunch, rated: npt.NDArray[np.bool_], ratings: str) -> Floats:
    """Return 1 / deviation**2 of the ratings."""
    import numpy as np

    deviations: Floats = table.target_std[rated]
    useless = np.flatnonzero(~(deviations > 0))  # NaN, too
    if len(useless):
        file, deviation = table.data[rated][useless[0]], deviations[useless[0]]
        raise Failure(
            f"{printable(ratings)}: the deviation of {printable(file)} is {deviation:g} "
            f"({len(useless)} such): to count 1 / deviation**2, all must be above 0"
        )
    return 1 / deviations**2


def _compute_features(
    paths: npt.NDArray[np.str_], weights: str, cache_dir: str | None, jobs: int
) -> tuple[ContrastiveQualityEncoder, Floats, set[int]]:
    """Return (fitted encoder, features, indices of the images that cannot be read)."""
    import numpy as np

    from skiqa import ContrastiveQualityEncoder

    encoder = ContrastiveQualityEncoder(
        weights=weights,
        cache_dir=cache_dir,
        n_jobs=jobs,
        on_error="nan",
        verbose=1,
    )
    try:
        X = encoder.fit(paths).transform(paths)
    except (OSError, ValueError) as error:
        raise Failure(str(error)) from None
    return encoder, X, set(np.flatnonzero(np.isnan(X).any(axis=1)).tolist())


def _fit_ridge(
    encoder: ContrastiveQualityEncoder,
    X: Floats,
    y: Floats,
    groups: npt.NDArray[Any],
    weights: Floats | None,
) -> tuple[Pipeline, Evaluation]:
    """Return (encoder and ridge in a pipeline, how well a search does on unseen contents)."""
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    from skiqa.metrics import srocc_scorer
    from skiqa.model_selection import evaluate
    from skiqa.model_selection._fitting import fit_by_content, warned_once, warnings_told

    if len(set(groups)) < MIN_CONTENTS:
        raise Failure(f"only {len(set(groups))} contents can be read; {MIN_CONTENTS} are needed")
    grid = {"alpha": list(ALPHAS)}
    search = GridSearchCV(Ridge(), grid, scoring=srocc_scorer)  # folds of contents
    rows = _in_few_columns(X)
    evaluation = evaluate(search, rows, y, groups, sample_weight=weights, verbose=1)
    told = warnings_told(fit_by_content, search, rows, y, groups, weights)
    ((_, best),) = warned_once([told], "fits")
    ridge = Ridge(**best or {}).fit(X, y, sample_weight=weights)
    return make_pipeline(encoder, ridge), evaluation


def _in_few_columns(X: Floats) -> Floats:
    """Return rows in as many columns as there are, of which every ridge predicts the same.

    X^T = Q R with orthonormal columns of Q: X = R^T Q^T, so R^T is X turned, and a ridge sees
    lengths and angles alone. A search among fewer photos than features takes less time.
    """
    import numpy as np

    if len(X) >= X.shape[1]:
        return X
    R: Floats = np.asarray(np.linalg.qr(X.T.astype(np.float64), mode="r"))
    return R.T


def _fine_tune(
    model: Pipeline,
    paths: npt.NDArray[np.str_],
    y: Floats,
    groups: npt.NDArray[Any],
    weights: Floats | None,
    epochs: int,
    cache_dir: str | None,
    jobs: int,
) -> tuple[Pipeline, str]:
    """Return (the pipeline with a network trained on, what that did on held-out contents)."""
    from sklearn.frozen import FrozenEstimator

    from skiqa import FineTunedQualityRegressor
    from skiqa._fine_tuning.cut import cut
    from skiqa._network.stages import Stages

    checkpoint_dir = maps_dir = None
    if cache_dir is not None:
        checkpoint_dir = Path(cache_dir) / "checkpoints"
        if cut(Stages(model[0].backbone_name_), 0) is not None:
            maps_dir = Path(cache_dir) / "maps"
    tuned = FineTunedQualityRegressor(
        FrozenEstimator(model[0]),
        alpha=model[-1].alpha,
        epochs=epochs,
        n_jobs=jobs,
        random_state=0,
        verbose=1,
        checkpoint_dir=checkpoint_dir,
        maps_dir=maps_dir,
    )
    try:
        tuned.fit(paths, y, weights, groups=groups)
    except (OSError, ValueError, RuntimeError) as error:
        raise Failure(str(error)) from None
    start, best = (tuned.history_[k]["validation_srocc"] for k in (0, tuned.best_epoch_))
    return tuned.pipeline_, (
        f"fine-tuned: SROCC {start:.3f} -> {best:.3f} on held-out contents, which chose epoch "
        f"{tuned.best_epoch_} of {tuned.n_iter_}"
    )

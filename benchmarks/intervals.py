"""How wide intervals of the bundled scorer are, and how many opinions they hold.

    python benchmarks/intervals.py [--clive ChallengeDB_release] [--cache-dir DIR] [--out FILE]

A ridge is fitted to bundled features of BIQ2021's train photos; how far it is off on the 800 val
photos is the calibration. Prints, for some levels, how far intervals reach to either side, in
points; how many opinions of val they hold when val is halved and one half calibrates for the other
(mean over 100 halvings); and of CLIVE, by the whole calibration, with its opinions brought to the
predictions' mean and deviation, as the two databases share no unit. --out writes the bundled scorer
with this calibration in its card.

The data are read from the folder that SKIQA_DATA names, as by linear_probe.py.
"""

import argparse

import numpy as np
from linear_probe import load_split
from sklearn.linear_model import Ridge

import skiqa
from skiqa._features.flags import unlike_above
from skiqa._intervals import Intervals, calibrate
from skiqa.datasets import load_clive
from skiqa.model_selection._tables import markdown_table
from skiqa.persistence import save

LEVELS = (0.5, 0.8, 0.9, 0.95)


def share_held(calibration, level, errors, rows):
    """Return the share of errors within intervals."""
    intervals = Intervals({"interval": calibration}, level)
    bounds = np.array([intervals.around(0.0, row) for row in rows])
    return np.mean((bounds[:, 0] <= errors) & (errors <= bounds[:, 1]))


def share_held_by_halves(level, errors, rows, limit):
    """Return the mean share of one half's errors within intervals calibrated by the other."""
    shares = []
    for seed in range(100):
        order = np.random.default_rng(seed).permutation(len(errors))
        one, other = np.array_split(order, 2)
        calibration = calibrate(errors[one], rows[one], None, limit)
        shares.append(share_held(calibration, level, errors[other], rows[other]))
    return np.mean(shares)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clive", metavar="DIR")
    parser.add_argument("--cache-dir")
    parser.add_argument("--out", metavar="FILE.skiqa")
    args = parser.parse_args()
    model = skiqa.load_model()
    model[0].set_params(cache_dir=args.cache_dir, verbose=1)
    (train, y), (val, y_val) = load_split("train", None), load_split("val", None)
    own, rows = model[0].transform(train), model[0].transform(val)
    ridge = Ridge().fit(own, 100 * y)
    errors = 100 * y_val - ridge.predict(rows)
    limit = model[-1].card_.get("unlike_above") or unlike_above(own)
    calibration = calibrate(errors, rows, None, limit)
    columns = ["level", "points to either side", "BIQ2021 val, by halves"]
    table = [
        [
            f"{level:g}",
            f"{Intervals({'interval': calibration}, level).half_width:.1f}",
            f"{share_held_by_halves(level, errors, rows, limit):.3f}",
        ]
        for level in LEVELS
    ]
    if args.clive:
        columns.append("CLIVE, units matched")
        clive = load_clive(args.clive)
        theirs = model[0].transform(clive.data)
        predicted = ridge.predict(theirs)
        opinions = (clive.target - clive.target.mean()) / clive.target.std()
        off = opinions * predicted.std() + predicted.mean() - predicted
        for row, level in zip(table, LEVELS, strict=True):
            row.append(f"{share_held(calibration, level, off, theirs):.3f}")
    print(markdown_table(columns, table))
    if args.out:
        model[0].set_params(cache_dir=None, verbose=0)
        model[-1].card_ = {**model[-1].card_, "interval": calibration}
        save(model, args.out, half=True)


if __name__ == "__main__":
    main()

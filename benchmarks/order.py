"""How often the bundled scorer puts levels of degradations in order, on photos that took no part.

    python benchmarks/order.py --photos large/*.jpg --sizes 0.25e6 1e6

For each size the photos are brought to so many pixels, and degraded there by six of 68 operators,
drawn for each photo, at five levels. The share of pairs of levels that scores put in order, mean
over operators; of those that taught the scorer (blur, noise, compression, resizing) alone; how
often level 5 of any operator is below level 1 of any; and the operators in the worst order.
"""

import argparse

import numpy as np
from copies import DISLIKED, chains
from linear_probe import table_row
from train_default import order_kept

import skiqa

WORST = 6


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", nargs="+", required=True)
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.25e6, 1e6], help="pixels")
    parser.add_argument("--operators", type=int, default=6, help="of each photo")
    args = parser.parse_args()
    encoder, ridge = skiqa.load_model()
    encoder.set_params(n_jobs=-1)
    columns = ["pixels", "operators", "order", "of those that taught", "levels 5 below 1", "worst"]
    print(table_row(columns))
    print(table_row(["---"] * len(columns)))
    for pixels in args.sizes:
        how = {"pixels": pixels, "n_operators": args.operators, "seed": int(pixels)}
        shares, ladder = order_kept(ridge, chains(encoder, args.photos, **how))
        taught = [share for name, share in shares.items() if name in DISLIKED]
        worst = sorted(shares, key=shares.get)[:WORST]
        cells = [f"{pixels:g}", str(len(shares)), f"{np.mean(list(shares.values())):.3f}"]
        cells += [f"{np.mean(taught):.3f}", f"{ladder:.3f}"]
        cells.append(", ".join(f"{name} {shares[name]:.2f}" for name in worst))
        print(table_row(cells), flush=True)


if __name__ == "__main__":
    main()

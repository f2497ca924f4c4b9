"""``skiqa export``."""

from __future__ import annotations

import os

import click

from skiqa.cli._files import Failure, in_the_way, printable, unwritable, warnings_shown
from skiqa.cli._score import load_scorer, max_pixels_option

__all__ = ["export"]


@click.command()
@click.argument("model", required=False, type=click.Path(exists=True, dir_okay=False))
@click.option("--onnx", "out", required=True, metavar="FILE.onnx", help="File to write.")
@max_pixels_option
@click.option("--overwrite", is_flag=True, help="Replace the --onnx FILE of an earlier run.")
def export(model: str | None, out: str, max_pixels: int | str | None, overwrite: bool) -> None:
    """Write a scorer as an ONNX file, for programs without skiqa.

    MODEL is a scorer saved by skiqa.persistence.save; without it the one that comes with skiqa.
    The file takes the pixels of one photo and gives its score; the page "Export" of the
    documentation has a program that uses it.

    Exit status: 0 if the file was written, 2 if not.
    """
    if problem := in_the_way(out, overwrite, "--onnx"):
        raise Failure(problem)
    with warnings_shown():
        scorer = load_scorer(model, max_pixels)
        from skiqa.persistence import to_onnx

        try:
            to_onnx(scorer, out)
        except TypeError as error:
            raise Failure(f"cannot export {printable(model or 'the model')}: {error}") from error
        except OSError as error:
            raise unwritable(out, error) from None
    click.echo(f"{printable(out)}: {os.path.getsize(out) / 1e6:.1f} MB")

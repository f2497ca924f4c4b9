"""The command line: one file for each command.

Only click is imported at the top, so that help, completion and usage errors are instant; torch
comes in when there are images to work on.
"""

import click

from skiqa.cli._degrade import degrade
from skiqa.cli._evaluate import evaluate
from skiqa.cli._export import export
from skiqa.cli._fit import fit
from skiqa.cli._pretrain import pretrain
from skiqa.cli._report import report
from skiqa.cli._score import score

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="skiqa", message="%(prog)s %(version)s")
def main() -> None:
    """Image quality without a reference."""


for command in (score, degrade, fit, evaluate, report, export, pretrain):
    main.add_command(command)

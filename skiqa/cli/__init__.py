"""The command line: one file for each command.

Only click is imported at the top, so that help, completion and usage errors are instant; torch
comes in when there are images to work on.
"""

import click

from skiqa.cli._degrade import degrade
from skiqa.cli._evaluate import evaluate
from skiqa.cli._files import EXTENSIONS, find_images
from skiqa.cli._fit import fit
from skiqa.cli._pretrain import pretrain
from skiqa.cli._report import report
from skiqa.cli._rows import TableOutput
from skiqa.cli._score import score

__all__ = ["EXTENSIONS", "TableOutput", "find_images", "main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="skiqa", message="%(prog)s %(version)s")
def main():
    """Image quality without a reference."""


main.add_command(score)
main.add_command(degrade)
main.add_command(fit)
main.add_command(evaluate)
main.add_command(report)
main.add_command(pretrain)

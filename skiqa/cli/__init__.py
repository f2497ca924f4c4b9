"""The command line: one file for each command.

Only click is imported at the top, so that help, completion and usage errors are instant; torch
comes in when there are images to work on.
"""

from typing import Any

import click

from skiqa._inputs.addresses import MissingPackage
from skiqa.cli._degrade import degrade
from skiqa.cli._evaluate import evaluate
from skiqa.cli._export import export
from skiqa.cli._files import Failure
from skiqa.cli._fit import fit
from skiqa.cli._pretrain import pretrain
from skiqa.cli._report import report
from skiqa.cli._score import score

__all__ = ["main"]


class _Commands(click.Group):
    """Commands that end in one line also where a network cannot run, whichever of them ran it."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MemoryError as error:
            raise Failure(f"there is not enough memory. {error}".rstrip()) from error
        except MissingPackage as error:
            raise Failure(str(error)) from error
        except ValueError as error:
            from skiqa._network.engine import GraphError
            from skiqa._sources.tables import ColumnError

            if isinstance(error, GraphError):
                raise Failure(f"{error} Is the model file what it should be?") from error
            if isinstance(error, ColumnError):
                raise Failure(f"{error} (--column)") from error
            raise


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="skiqa", message="%(prog)s %(version)s")
def main() -> None:
    """Image quality without a reference."""


for command in (score, degrade, fit, evaluate, report, export, pretrain):
    main.add_command(command)

"""Pictures of a table, Parquet or Arrow: a column of bytes, or of addresses.

Rows of Hugging Face data sets, {"bytes", "path"}, are a column of bytes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

from skiqa._inputs.addresses import MissingPackage, is_address, public_name
from skiqa._inputs.forms import unpacked
from skiqa._sources.kinds import open_place, path_of
from skiqa._sources.named import Named
from skiqa.exceptions import ImageError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ColumnError", "iter_table", "iter_values", "require_pyarrow"]

# What columns are called where there are several that could be it.
_OF_BYTES = ("image", "img", "jpg", "jpeg", "png", "webp", "picture", "photo", "bytes", "data")
_OF_ADDRESSES = ("url", "uri", "address", "path", "file", "image", "image_url", "image_path")

_BATCH = 16  # rows that are read at a time: pictures may be large
_BUFFER = 2**20  # bytes of a column of Parquet that are read at a time


class ColumnError(ValueError):
    """Nobody can tell in which column of a table the pictures are."""


def require_pyarrow() -> None:
    """Raise MissingPackage if pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise MissingPackage(
            "Parquet and Arrow need an extra: pip install 'skiqa[sources]'"
        ) from None


def iter_table(
    place: str, column: str | None, wanted: Callable[[str], bool]
) -> Generator[Named, None, None]:
    """Yield the pictures of a table; those at addresses are yet to be read.

    Parameters
    ----------
    place : str
        Path or address.
    column : str or None
        Where pictures are: bytes, rows {"bytes", "path"}, or paths and addresses, which are taken
        to be relative to the table. None: the only column of bytes or else of text, or the one
        that is called as such a column is.
    wanted : callable
        Whether a picture of this name is to be read.

    Yields
    ------
    Named
        Of a row, in order. Where the table cannot be read further, the last one is the error that
        says so, under the table's name.

    Raises
    ------
    ColumnError
    MissingPackage
    """
    require_pyarrow()
    shown = public_name(place)
    import pyarrow as pa

    try:
        with contextlib.closing(_cells(place, column)) as cells:
            for number, cell in enumerate(cells):
                image = unpacked(cell)
                name = f"{shown}#{number}"
                if isinstance(image, str):
                    image = _beside(place, image) if image else None
                    name = public_name(image or name)
                if wanted(name):
                    yield Named(name, image)
    except ColumnError:
        raise
    except FileNotFoundError:
        yield Named(shown, ImageError("there is no such file", kind="missing"))
    except ImageError as error:
        yield Named(shown, error)
    except (OSError, pa.ArrowException) as error:
        text = str(error).partition("\n")[0]
        yield Named(shown, ImageError(f"the table cannot be read ({text})", kind="damaged"))


def iter_values(place: str, column: str | None) -> Generator[list[Any], None, None]:
    """Yield the header of a table of rated pictures, then its rows without the pictures.

    Parameters
    ----------
    place : str
        Path or address.
    column : str or None
        Where pictures are, as of :func:`iter_table`, or "": it holds none.

    Yields
    ------
    list
        Names of columns, of which the first is that of the pictures. Then a value for each other
        column of numbers and text; None for a gap. There are no others for people to rate by.

    Raises
    ------
    ColumnError
    MissingPackage
    ImageError
        If the table cannot be read, or is none.
    """
    require_pyarrow()
    import pyarrow as pa

    try:
        with _open_table(place) as (schema, batches_of):
            pictures = [] if column == "" else [_column_of(schema, column, place)]
            fields = [f for f in schema if _is_plain(f.type) and f.name not in pictures]
            yield [*pictures, *(field.name for field in fields)]
            for batch in batches_of(list({field.name: None for field in fields})):
                values = [cells.to_pylist() for cells in batch.columns]
                yield from ([each[row] for each in values] for row in range(batch.num_rows))
    except ImageError as error:
        raise ImageError(f"{public_name(place)}: {error.reason}") from error
    except (pa.ArrowException, FileNotFoundError) as error:
        raise ImageError(f"{public_name(place)} cannot be read: {error}") from error


def _cells(place: str, column: str | None) -> Generator[Any, None, None]:
    """Yield what is in the column of pictures."""
    with _open_table(place) as (schema, batches_of):
        name = _column_of(schema, column, place)
        for batch in batches_of([name]):
            for cell in batch.column(name):
                yield cell.as_py()


@contextlib.contextmanager
def _open_table(
    place: str,
) -> Iterator[tuple[pa.Schema, Callable[[list[str]], Iterator[pa.RecordBatch]]]]:
    """Enter a table: its schema, and what reads some of its columns, a few rows at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with contextlib.ExitStack() as stack:
        if path_of(place).lower().endswith(".parquet"):
            file = stack.enter_context(open_place(place))
            table = pq.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)
            yield (
                table.schema_arrow,
                lambda names: table.iter_batches(_BATCH, columns=names, use_threads=False),
            )
        else:
            source = open_place(place) if is_address(place) else pa.memory_map(place)
            schema, batches = _ipc(stack.enter_context(source))
            yield schema, lambda names: (batch.select(names) for batch in batches)


def _ipc(file: Any) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Open Arrow's file, or its stream, as Hugging Face data sets keep."""
    import pyarrow as pa

    magic = file.read(6)
    file.seek(0)
    if magic == b"ARROW1":
        reader = pa.ipc.open_file(file)
        return reader.schema, map(reader.get_batch, range(reader.num_record_batches))
    stream = pa.ipc.open_stream(file)
    return stream.schema, iter(stream)


def _column_of(schema: pa.Schema, column: str | None, place: str) -> str:
    """Return the name of the column of pictures."""
    of_bytes = [field.name for field in schema if _holds_bytes(field.type)]
    of_addresses = [field.name for field in schema if _holds_text(field.type)]
    if column is not None:
        if column not in (*of_bytes, *of_addresses):
            raise ColumnError(
                f"{public_name(place)} has no column {column!r} of bytes or of addresses; its "
                f"columns are {schema.names}"
            )
        return column
    for there, called in ((of_bytes, _OF_BYTES), (of_addresses, _OF_ADDRESSES)):
        likely = [name for name in there if name.lower() in called]
        for found in (there, likely):
            if len(found) == 1:
                return found[0]
        if there:
            raise ColumnError(
                f"{public_name(place)} has columns {there}: say which of them holds the pictures"
            )
    raise ColumnError(
        f"{public_name(place)} has no column of bytes or of addresses; its columns are "
        f"{schema.names}"
    )


def _holds_bytes(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return str(_plain(kind)) in ("binary", "large_binary", "binary_view")


def _holds_text(kind: pa.DataType) -> bool:
    return str(_plain(kind)) in ("string", "large_string", "string_view")


def _is_plain(kind: pa.DataType) -> bool:
    """Is it numbers or text?"""
    import pyarrow as pa

    of_numbers = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_decimal,
        pa.types.is_boolean,
    )
    return _holds_text(kind) or any(is_such(_plain(kind)) for is_such in of_numbers)


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return the type of what a column holds, be it by number in a dictionary."""
    import pyarrow as pa

    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _beside(table: str, path: str) -> str:
    """Return the path or address of a picture that a table names."""
    if is_address(path) or os.path.isabs(path):
        return path
    if is_address(table):
        inner, *chain = table.partition("::")
        folder = inner.partition("?")[0].rpartition("/")[0]
        return f"{folder}/{path}{''.join(chain)}"
    return os.path.join(os.path.dirname(table), path)

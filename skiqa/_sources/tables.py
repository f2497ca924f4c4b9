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


def iter_values(place: str) -> Generator[tuple[Any, ...], None, None]:
    """Yield the names of a table's columns of numbers, text and the like; then their rows.

    Parameters
    ----------
    place : str
        Path or address.

    Yields
    ------
    tuple
        A value for each column that holds no bytes and nothing nested; None for a gap.

    Raises
    ------
    OSError
        If the table cannot be read; pyarrow's errors, which are ValueError, if it is none.
    MissingPackage
    """
    require_pyarrow()
    import pyarrow as pa

    with _open_table(place) as (schema, batches_of):
        kept = [f.name for f in schema if not (_holds_bytes(f.type) or pa.types.is_nested(f.type))]
        yield tuple(kept)
        for batch in batches_of(kept):
            yield from zip(*(batch.column(name).to_pylist() for name in kept), strict=True)


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
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _holds_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _beside(table: str, path: str) -> str:
    """Return the path or address of a picture that a table names."""
    if is_address(path) or os.path.isabs(path):
        return path
    if is_address(table):
        folder = table.partition("?")[0].rpartition("/")[0]
        return f"{folder}/{path}"
    return os.path.join(os.path.dirname(table), path)

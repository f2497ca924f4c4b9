"""Checkpoints: what lets a killed training go on. Locked, checksummed, written atomically."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch

from skiqa._disk import lock_file, whole_file, writing_to
from skiqa._types import Path as AnyPath

CHECKPOINT_SECONDS = 60.0  # between two checkpoints of an epoch
_KEEP = 2  # the newest file may be torn by a failing disk; the one before it then serves


class NoFolder:
    """What a training without `checkpoint_dir` has in place of a :class:`TrainingFolder`."""

    path: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        pass

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Keep nothing."""

    def save_if_due(self, step: int, make_state: Callable[[], dict[str, Any]]) -> None:
        """Keep nothing."""

    def load(self) -> dict[str, Any] | None:
        """Return None: there is nothing to go on from."""
        return None

    def remove(self) -> None:
        """Delete nothing."""


class TrainingFolder(NoFolder):
    """The checkpoints of one training run, and the clock that says when the next one is due.

    Parameters
    ----------
    checkpoint_dir : str or Path
        Where all runs keep theirs; this one's folder is named by `identity`.
    identity : dict
        Everything that decides the result: parameters and image digests. Two runs that differ in
        any of it never meet in one folder.

    Attributes
    ----------
    path : Path
        The folder.

    Notes
    -----
    The folder is made at once: if it cannot be, that is known before the work, by a ValueError. It
    is locked while the run lives, so that two never train in one; the operating system frees the
    lock of a killed process.
    """

    path: Path

    def __init__(self, checkpoint_dir: AnyPath, identity: dict[str, Any]) -> None:
        text = json.dumps(identity, sort_keys=True, default=str)
        self._parent = Path(checkpoint_dir).expanduser()
        self.path = self._parent / hashlib.sha256(text.encode()).hexdigest()[:24]
        with writing_to(self._parent, "checkpoint_dir"):
            self.path.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        with writing_to(self._parent, "checkpoint_dir"):
            self._lock = open(self.path / "lock", "a")  # held until the end
        try:
            lock_file(self._lock)
        except (BlockingIOError, PermissionError) as error:
            self._lock.close()
            raise RuntimeError(
                f"Another fit of the same data and parameters is training in {self.path}. Wait "
                "for it, or give this one another checkpoint_dir."
            ) from error
        self._saved = time.monotonic()
        return self

    def __exit__(self, *raised: object) -> None:
        self._lock.close()

    def save_if_due(self, step: int, make_state: Callable[[], dict[str, Any]]) -> None:
        """Write a checkpoint if the last one is a minute old."""
        if time.monotonic() - self._saved > CHECKPOINT_SECONDS:
            self.save(step, make_state())

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write a checkpoint that `torch.load(weights_only=True)` reads; drop the old ones."""
        self._saved = time.monotonic()
        buffer = io.BytesIO()
        torch.save(state, buffer)
        payload = buffer.getvalue()
        target = self.path / f"step-{step:09d}.pt"
        try:
            with whole_file(target) as file:
                file.write(hashlib.sha256(payload).digest() + payload)
        except OSError as error:
            warnings.warn(
                f"The checkpoint {target} could not be written ({error}). Training goes on; if it "
                "is stopped now it resumes from the checkpoint before. Free some space.",
                UserWarning,
                stacklevel=2,
            )
            return
        for old in _files(self.path)[_KEEP:]:
            old.unlink(missing_ok=True)

    def load(self) -> dict[str, Any] | None:
        """Return the state in the newest whole checkpoint, or None."""
        for file in _files(self.path):
            data = file.read_bytes()
            if hashlib.sha256(data[32:]).digest() == data[:32]:
                state: dict[str, Any] = torch.load(
                    io.BytesIO(data[32:]), weights_only=True, map_location="cpu"
                )
                return state
            warnings.warn(
                f"The checkpoint {file} is damaged and is passed over.", UserWarning, stacklevel=2
            )
        return None

    def remove(self) -> None:
        """Delete the folder: the training ended well."""
        shutil.rmtree(self.path, ignore_errors=True)


def newest_step(path: AnyPath) -> int | None:
    """Return the step of the newest checkpoint in a run's folder; None if there is none."""
    newest = next(iter(_files(Path(path))), None)
    return None if newest is None else int(newest.stem.removeprefix("step-"))


def _files(path: Path) -> list[Path]:
    """List the checkpoints in a run's folder, the newest first."""
    return sorted(path.glob("step-*.pt"), reverse=True)

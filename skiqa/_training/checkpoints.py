"""A folder that lets a killed training go on: locked, checksummed, written atomically."""

import hashlib
import io
import json
import os
import shutil
import warnings
from pathlib import Path

import torch

_KEEP = 2  # the newest file may be torn by a failing disk; the one before it then serves


class TrainingFolder:
    """The checkpoints of one training run.

    Parameters
    ----------
    checkpoint_dir : str or Path
        Where all runs keep theirs; this one's folder is named by `identity`.
    identity : dict
        Everything that decides the result: parameters and image digests. Two runs that differ in
        any of it never meet in one folder.

    Notes
    -----
    The folder is locked while the run lives, so that two never train in one; the operating system
    frees the lock of a killed process.
    """

    def __init__(self, checkpoint_dir, identity):
        text = json.dumps(identity, sort_keys=True, default=str)
        self.path = Path(checkpoint_dir) / hashlib.sha256(text.encode()).hexdigest()[:24]

    def __enter__(self):
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.path / "lock", "a")
        try:
            _lock_exclusively(self._lock)
        except (BlockingIOError, PermissionError) as error:
            self._lock.close()
            raise RuntimeError(
                f"Another fit of the same data and parameters is training in {self.path}. Wait "
                "for it, or give this one another checkpoint_dir."
            ) from error
        return self

    def __exit__(self, kind, error, traceback):
        self._lock.close()
        return False

    def save(self, step, content):
        """Write a checkpoint that `torch.load(weights_only=True)` reads; drop the old ones."""
        buffer = io.BytesIO()
        torch.save(content, buffer)
        payload = buffer.getvalue()
        target = self.path / f"step-{step:09d}.pt"
        temporary = target.with_suffix(f".{os.getpid()}.tmp")
        try:
            with open(temporary, "wb") as file:
                file.write(hashlib.sha256(payload).digest() + payload)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            warnings.warn(
                f"The checkpoint {target} could not be written ({error}). Training goes on; if it "
                "is stopped now it resumes from the checkpoint before. Free some space.",
                UserWarning,
                stacklevel=2,
            )
            return
        for old in self._files()[_KEEP:]:
            old.unlink(missing_ok=True)

    def load(self):
        """Return the content of the newest whole checkpoint, or None."""
        for file in self._files():
            data = file.read_bytes()
            if hashlib.sha256(data[32:]).digest() == data[:32]:
                return torch.load(io.BytesIO(data[32:]), weights_only=True, map_location="cpu")
            warnings.warn(
                f"The checkpoint {file} is damaged and is passed over.", UserWarning, stacklevel=2
            )
        return None

    def remove(self):
        """Delete the folder: the training ended well."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _files(self):
        return sorted(self.path.glob("step-*.pt"), reverse=True)


def _lock_exclusively(file):
    """Lock a file until it is closed or the process dies, however it dies."""
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

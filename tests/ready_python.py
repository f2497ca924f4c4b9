"""Python programs in processes of their own, without the seconds that importing PyTorch takes.

`start` and `run` take what stands behind ``python`` on a command line. On Linux the process is
forked from one that has done nothing but import, and ends as any other; elsewhere it is started
anew. Not for tests of what is imported.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import types
import warnings
from functools import cache

IMPORTED = [  # not ONNX Runtime, which starts a thread
    *("torch", "torch._dynamo", "timm", "onnx", "PIL.Image", "matplotlib.pyplot"),
    *("scipy.optimize", "scipy.stats", "sklearn.datasets", "sklearn.model_selection"),
]


def run(*arguments, **options):
    """Run a program to its end: a `subprocess.CompletedProcess`, its output as text."""
    process = start(*arguments, **options)
    output, errors = process.communicate()
    return subprocess.CompletedProcess(arguments, process.returncode, output, errors)


def start(*arguments, cwd=".", env=os.environ):
    """Start a program: a `subprocess.Popen`, or the part of one that tests need."""
    command = [str(argument) for argument in arguments]
    if sys.platform == "linux":
        return _Process({"command": command, "cwd": os.path.abspath(cwd), "env": {**env}})
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    return subprocess.Popen([sys.executable, *command], cwd=cwd, env=env, **pipes)


class _Process:
    def __init__(self, job):
        ours, theirs = os.pipe()
        self.stdout = open(ours, encoding="utf-8")  # noqa: SIM115 - as Popen's
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self.pid = _ask(job, [theirs, self._errors.fileno()])
        os.close(theirs)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)

    def communicate(self):
        with self.stdout, self._errors:
            output = self.stdout.read()
            self.returncode = _ask(self.pid)
            self._errors.seek(0)
            return output, self._errors.read().decode()


# ---------------------------------------------------------------- the process that is forked


@cache
def _server():
    """Start it, at the first question; return our end of the line to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        number = theirs.fileno()
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "pass_fds": [number]}
        server = subprocess.Popen([sys.executable, __file__, str(number)], **options)

    def end():
        ours.close()
        server.wait()

    atexit.register(end)
    return ours


def _ask(question, files=()):
    socket.send_fds(_server(), [json.dumps(question).encode()], files)
    return json.loads(_server().recv(100))


def serve(line):
    """Answer a program with the number of its process, and a number with how that has ended.

    Returns the program in its process; None where all is said.
    """
    while message := socket.recv_fds(line, 1_000_000, 2):
        if not message[0]:
            return None
        question, files = json.loads(message[0]), message[1]
        if isinstance(question, int):
            answer = os.waitstatus_to_exitcode(os.waitpid(question, 0)[1])
        elif not (answer := os.fork()):
            line.close()
            for number, file in enumerate(files, start=1):
                os.dup2(file, number)
                os.close(file)
            return question
        for file in files:
            os.close(file)
        line.send(json.dumps(answer).encode())


def become(command, cwd, env):
    """Run a program in this process, as a Python of its own would."""
    import torch

    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    if threads := env.get("OMP_NUM_THREADS"):  # which PyTorch has read already
        torch.set_num_threads(int(threads))
    kind = command[0]
    sys.path[0] = os.path.dirname(os.path.abspath(kind)) if kind[0] != "-" else cwd
    sys.argv = command if kind[0] != "-" else [kind, *command[2:]]
    if kind == "-m":
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
        return
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    if kind == "-c":
        source, name = command[1], "<string>"
    else:
        main.__file__ = name = os.path.abspath(kind)
        with open(kind, encoding="utf-8") as file:
            source = file.read()
    exec(compile(source, name, "exec"), vars(main))


if __name__ == "__main__":
    for module in IMPORTED:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    # OpenBLAS's threads, which it stops and starts itself around a fork
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    gc.freeze()  # the forks share it: none of it is looked at when one ends
    if (program := serve(socket.socket(fileno=int(sys.argv[1])))) is not None:
        become(**program)

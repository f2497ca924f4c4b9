import subprocess
import sys

import skiqa


def test_help_and_version_load_no_torch():
    code = (
        "import sys, atexit; from skiqa.cli import main;"
        "atexit.register(lambda: print(sorted({'torch', 'sklearn', 'numpy'} & set(sys.modules))));"
        "main(sys.argv[1:], prog_name='skiqa')"
    )
    for arguments in (["--help"], ["score", "--help"], ["--version"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True
        )
        assert done.stdout.endswith("[]\n")
    assert done.stdout == f"skiqa {skiqa.__version__}\n[]\n"


def test_python_m_skiqa():
    done = subprocess.run(
        [sys.executable, "-m", "skiqa", "--version"], check=True, capture_output=True, text=True
    )
    assert done.stdout == f"skiqa {skiqa.__version__}\n"

"""``python -m skiqa`` is ``skiqa``."""

from skiqa.cli import main

if __name__ == "__main__":
    main(prog_name="skiqa")

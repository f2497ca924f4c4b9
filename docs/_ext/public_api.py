"""The API reference, written from ``__all__``: a page for each public name of skiqa.

``pages`` returns the sources, and knows nothing of Sphinx, so that a test can ask which names have
a page. As an extension it writes them to ``docs/api`` before Sphinx looks for documents.
"""

import inspect
from importlib import import_module
from pathlib import Path

PACKAGE = "skiqa"

# What is told of names that carry no docstring of their own.
DATA = {
    "skiqa.__version__": "Version of skiqa, a string.",
    "skiqa.degradations.ARNIQA": "Bank of ARNIQA's 24 operators.",
    "skiqa.degradations.KADIS": "Bank of the 25 operators of KADIS-700k.",
    "skiqa.degradations.QPT": "Bank of QPT's operators.",
    "skiqa.degradations.REIQA": "Bank of Re-IQA's 26 operators.",
    "skiqa.metrics.SCORERS": (
        "All four scorers by name, for multi-metric ``cross_validate`` and searches: ``srocc``, "
        "``plcc``, ``krocc`` and ``neg_rmse``. The model predicts once for all."
    ),
    "skiqa.metrics.srocc_scorer": (
        "Scorer of :func:`srocc_score <skiqa.metrics.srocc_score>` for ``scoring=`` of "
        "scikit-learn: higher is better. Rows whose y is NaN are left out."
    ),
    "skiqa.metrics.plcc_scorer": (
        "Scorer of :func:`plcc_score <skiqa.metrics.plcc_score>`, without a mapping: one fitted to "
        "the validation fold hides a wrong scale and a wrong sign. Rows whose y is NaN are left "
        "out."
    ),
    "skiqa.metrics.krocc_scorer": (
        "Scorer of :func:`krocc_score <skiqa.metrics.krocc_score>`: higher is better. Rows whose y "
        "is NaN are left out."
    ),
    "skiqa.metrics.neg_rmse_scorer": (
        "Scorer of minus :func:`rmse_error <skiqa.metrics.rmse_error>`, without a mapping, so that "
        "higher is better. Rows whose y is NaN are left out."
    ),
    "skiqa.objectives.OBJECTIVES": (
        "Dictionary from the names that the encoder's ``objective`` takes to the classes."
    ),
    "skiqa.persistence.TRUSTED": (
        "Names of the types that :func:`load <skiqa.persistence.load>` trusts in a skops file, "
        "beside those that skops trusts itself."
    ),
}

KINDS = {"class": "Classes", "function": "Functions", "data": "Data", "module": "Modules"}


def modules():
    """Return the public modules, the package first."""
    package = import_module(PACKAGE)
    names = [name for name in package.__all__ if inspect.ismodule(getattr(package, name))]
    return [PACKAGE, *(f"{PACKAGE}.{name}" for name in names)]


def public_names(module):
    """Return {full name: object} of a module's ``__all__``, without the rooms of the package."""
    holder = import_module(module)
    known = set(modules())
    names = {f"{module}.{name}": getattr(holder, name) for name in holder.__all__}
    return {name: value for name, value in names.items() if name not in known}


def kind(value):
    """Return "class", "function", "module" or "data"."""
    if inspect.isclass(value):
        return "class"
    if inspect.ismodule(value):
        return "module"
    # the register's decorators leave functions that bear a docstring of their own
    return "function" if inspect.isroutine(value) or hasattr(value, "__wrapped__") else "data"


def summary(name, value):
    """Return the first paragraph of a docstring as one line; KeyError where there is nothing."""
    if kind(value) == "data":
        return DATA[name]
    paragraph = (inspect.getdoc(value) or "").split("\n\n")[0]
    if not paragraph:
        raise KeyError(f"{name} has no docstring")
    return " ".join(paragraph.split())


def pages():
    """Return {document name: source} of all pages below ``api/``."""
    found = {"index": _index()}
    for module in modules():
        names = public_names(module)
        found[module] = _module_page(module, names)
        for name, value in names.items():
            found[name] = _page(name, value)
    return found


def _title(text):
    return f"{text}\n{'=' * len(text)}\n\n"


def _index():
    text = _title("API reference")
    text += (
        "Every public name, by the module it is imported from. Estimators follow scikit-learn: "
        "``fit``, ``transform`` or ``predict``, ``get_params``, ``set_params`` and ``clone`` work "
        "as they do there.\n\n"
    )
    for module in modules():
        heading = f":doc:`{module} <{module}>`"
        text += f"{heading}\n{'-' * len(heading)}\n\n.. currentmodule:: {module}\n\n"
        text += _table(public_names(module))
    return text + _toctree(modules(), hidden=True)


def _module_page(module, names):
    text = _title(module) + f".. automodule:: {module}\n   :no-members:\n\n"
    for label, heading in KINDS.items():
        of_kind = {name: value for name, value in names.items() if kind(value) == label}
        if of_kind:
            text += f"{heading}\n{'-' * len(heading)}\n\n{_table(of_kind)}"
    return text + _toctree(names, hidden=True)


def _page(name, value):
    module, _, short = name.rpartition(".")
    text = _title(short if kind(value) != "module" else name)
    text += f".. currentmodule:: {module}\n\n"
    if kind(value) == "class":
        directive = "autoexception" if issubclass(value, BaseException) else "autoclass"
        text += f".. {directive}:: {name}\n   :members:\n"
        # which mixins of scikit-learn and private ones make an estimator is no news to a reader
        if any(_is_public(base) for base in value.__bases__):
            text += "   :show-inheritance:\n"
        text += "\n"
    elif kind(value) == "function":
        text += f".. autofunction:: {name}\n\n"
    elif kind(value) == "data":
        return text + f".. py:data:: {short}\n   :module: {module}\n\n   {DATA[name]}\n"
    else:
        functions = {f"{name}.{inner}": getattr(value, inner) for inner in value.__all__}
        text += f".. automodule:: {name}\n   :no-members:\n\n{_table(functions)}"
        for function in functions:
            text += f".. autofunction:: {function}\n\n"
        return text
    return text + f".. minigallery:: {name}\n   :add-heading: Examples with {short}\n"


def _is_public(value):
    """Whether a class can be imported from a public module of the package."""
    return any(value is other for module in modules() for other in public_names(module).values())


def _table(names):
    """Return a table of names with what they are, in a line each."""
    text = ".. list-table::\n   :class: names\n   :widths: 30 70\n\n"
    for name, value in names.items():
        short = name.rpartition(".")[2]
        text += f"   * - :py:obj:`{short} <{name}>`\n     - {summary(name, value)}\n"
    return text + "\n"


def _toctree(names, *, hidden):
    text = ".. toctree::\n   :hidden:\n\n" if hidden else ".. toctree::\n\n"
    return text + "".join(f"   {name}\n" for name in names)


def write_pages(folder):
    """Write the pages; leave alone what has not changed, and remove what has no name any more."""
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    sources = {folder / f"{name}.rst": source for name, source in pages().items()}
    for path in set(folder.glob("*.rst")) - set(sources):
        path.unlink()
    for path, source in sources.items():
        if not path.exists() or path.read_text(encoding="utf-8") != source:
            path.write_text(source, encoding="utf-8")


def _skip_requests(app, what, name, obj, skip, options):
    """Leave out scikit-learn's ``set_fit_request`` and its kind, which are about its routing."""
    return True if name.startswith("set_") and name.endswith("_request") else None


def source_module(module, name):
    """Return `module` for a name that is not linked to its source from there, else None.

    That is what the package shows of a module that has it, too: the page of the source links back
    to one page, and to a name that stands there.
    """
    name = name.partition(".")[0]
    twice = any(name in import_module(other).__all__ for other in modules()[1:])
    return module if module == PACKAGE and twice else None


def setup(app):
    """Write the pages when Sphinx has read its configuration."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("config-inited", lambda app, config: write_pages(Path(app.srcdir) / "api"))
    app.connect("autodoc-skip-member", _skip_requests)
    app.setup_extension("sphinx.ext.viewcode")
    app.connect("viewcode-follow-imported", lambda app, *name: source_module(*name))
    return {"parallel_read_safe": True}

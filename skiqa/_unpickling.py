"""What an estimator makes of a pickle that an earlier version of its class has written."""

from __future__ import annotations

import inspect
from typing import Any


class DefaultsWhenUnpickled:
    """A parameter that did not exist yet when an estimator was pickled gets its default."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        parameters = inspect.signature(type(self).__init__).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        super().__setstate__(defaults | state)  # type: ignore[misc]  # BaseEstimator's

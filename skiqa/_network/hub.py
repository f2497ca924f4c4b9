"""Where timm's weights come from: a hub on the network, or what an earlier download left."""

from __future__ import annotations

import urllib.error
import urllib.request

# What timm looks for, in its order.
_FILES = ("model.safetensors", "pytorch_model.bin")
_SECONDS = 5.0


def downloaded_weights(hub_id: str) -> str | None:
    """Return the file that an earlier download of weights left on this machine, if any."""
    from huggingface_hub import try_to_load_from_cache

    for name in _FILES:
        found = try_to_load_from_cache(hub_id, name)
        if isinstance(found, str):
            return found
    return None


def check_hub(hub_id: str) -> None:
    """Raise ValueError if weights cannot be downloaded, which the hub's own client tries for long.

    Asks once, through whatever proxy the environment names.
    """
    from huggingface_hub import constants

    where = constants.ENDPOINT
    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else _why_no_answer(where)
    if why is None:
        return
    raise ValueError(
        f"weights='timm' downloads {_FILES[0]} of {hub_id} from {where}, which cannot be reached "
        f"({why}), and it is not among earlier downloads in {constants.HF_HUB_CACHE}. Without a "
        "network, use weights='default' (the bundled ones) or a file of weights; or download on "
        f"another machine and copy the folder models--{hub_id.replace('/', '--')} to there."
    )


def _why_no_answer(url: str) -> str | None:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_SECONDS):
            return None
    except urllib.error.HTTPError:  # an answer
        return None
    except urllib.error.URLError as error:
        # certificates are the client's own affair: it may know others
        return None if type(error.reason).__module__ == "ssl" else str(error.reason)
    except OSError as error:
        return str(error)

import os
import pickle
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiqa._network.pickles import Call, read_pickle

NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False)
LEAVES = st.none() | st.booleans() | NUMBERS | st.text()
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES, st.sampled_from([2, 3, 4]))
def test_plain_data(value, protocol):
    assert read_pickle(pickle.dumps(value, protocol), []) == value


def test_bytes_and_shared_parts():
    shared = [b"\0" * 300, b"x"]
    found = read_pickle(pickle.dumps([shared, shared], protocol=3), [])
    assert found == [shared, shared]
    assert found[0] is found[1]


class Thing:
    def __init__(self):
        self.size = 3


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_objects_are_written_down(protocol):
    call = read_pickle(pickle.dumps(Thing(), protocol), ["*.Thing"])
    assert isinstance(call, Call)
    assert call.function == f"{__name__}.Thing"
    assert (call.arguments, call.state) == ((), {"size": 3})


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_is_called(tmp_path, protocol):
    path = tmp_path / "made"
    data = pickle.dumps({"a": [Evil(os.fspath(path))]}, protocol)
    with pytest.raises(ValueError, match=r"names (posix|nt)\.mkdir, which has no place|operation"):
        read_pickle(data, ["collections.OrderedDict"])
    # allowed, it is written down and still not called
    if protocol in (2, 3, 4):
        (call,) = read_pickle(data, ["*.mkdir"])["a"]
        assert call.arguments == (os.fspath(path),)
    assert not path.exists()
    pickle.loads(data)  # it would have been
    assert path.is_dir()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "exhausted"),
        (b"no pickle", "opcode"),
        (b"\x80\x02.", "damaged"),
        (b"\x80\x02a.", "damaged"),  # append to nothing
        (b"\x80\x02t.", "damaged"),  # a tuple without its mark
        (b"\x80\x02h\x05.", "damaged"),  # what was never put away
        (b"\x80\x02NNR.", "calls None, which is no class"),
        (b"\x80\x02X\x09\x00\x00\x00os.system)R.", "calls 'os.system', which is no class"),
        (b"\x80\x02N}b.", "damaged"),  # state for a thing that has none
        (b"\x80\x02\x82\x01.", "operation EXT1 at byte 2"),
        (b"(ios\nsystem\n.", "operation INST"),
    ],
)
def test_what_is_refused(data, message):
    with pytest.raises(ValueError, match=message):
        read_pickle(data, ["*"])


WHOLE = pickle.dumps(OrderedDict(a=[1, 2.5, ("b", None)], c=True), protocol=3)


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255), st.booleans())
def test_damage_is_a_value_error_or_harmless(place, byte, cut):
    data = WHOLE[:place] if cut else WHOLE[:place] + bytes([byte]) + WHOLE[place + 1 :]
    try:
        read_pickle(data, ["collections.OrderedDict"])
    except ValueError:
        return
    assert not cut

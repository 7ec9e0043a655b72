"""Messages are whole or refused, with a reason in a word."""

import numpy as np
import pytest
import safetensors.numpy

from sojourn.errors import UpdateRefusedError
from sojourn.federated.messages import Message, check, narrow, norm, pack, unpack, widen

SHAPES = {"w": (2, 3), "b": (3,)}


def update(**changed: np.ndarray) -> Message:
    tensors = {"w": np.ones((2, 3), np.float32), "b": np.zeros(3, np.float32)} | changed
    return Message("train", 4, tensors, {"steps": 5.0}, {"note": "ü"})


def test_a_message_comes_back_as_it_was_sent() -> None:
    sent = update()
    got = unpack(pack(sent))
    assert (got.kind, got.round, got.numbers, got.texts) == ("train", 4, {"steps": 5.0}, {"note": "ü"})
    np.testing.assert_array_equal(got.tensors["w"], sent.tensors["w"])
    assert pack(got) == pack(sent)


@pytest.mark.parametrize("length", [0, 5, 30, 150, -1])
def test_a_message_that_is_cut_short_is_refused(length: int) -> None:
    with pytest.raises(UpdateRefusedError) as caught:
        unpack(pack(update())[:length])
    assert caught.value.reason == "malformed"


def test_pickled_bytes_are_refused() -> None:
    with pytest.raises(UpdateRefusedError, match="safetensors"):
        unpack(b"\x80\x04\x95" + bytes(100))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"w": np.full((2, 3), np.nan, np.float32)}, "not_finite"),
        ({"b": np.full(3, np.inf, np.float32)}, "not_finite"),
        ({"w": np.ones((3, 2), np.float32)}, "wrong_shape"),
        ({"b": np.ones(3, np.int64)}, "wrong_type"),
        ({"other": np.ones(1, np.float32)}, "wrong_names"),
    ],
)
def test_unusable_updates_are_refused_with_their_reason(bad: dict[str, np.ndarray], reason: str) -> None:
    with pytest.raises(UpdateRefusedError) as caught:
        check(update(**bad), "train", SHAPES)
    assert caught.value.reason == reason


def test_a_good_update_passes_and_an_answer_to_another_question_does_not() -> None:
    check(update(), "train", SHAPES)
    with pytest.raises(UpdateRefusedError) as caught:
        check(update(), "evaluate", SHAPES)
    assert caught.value.reason == "wrong_kind"


def test_norm_is_over_all_tensors() -> None:
    assert norm({"w": np.full(4, 2.0), "b": np.full(9, 1.0)}) == pytest.approx(5.0)


def test_narrow_tensors_come_back_to_eleven_bits_and_everything_else_as_it_was() -> None:
    rng = np.random.default_rng(0)
    plain = (10.0 ** rng.uniform(-4, 4, 500) * rng.choice([-1, 1], 500)).astype(np.float32)
    squares = (10.0 ** rng.uniform(-8, 6, 500)).astype(np.float32)
    counts = np.arange(3)
    sent = Message("train", 2, {"w": plain, "exp_avg_sq.w": squares, "counts": counts}, {"steps": 3.0})
    found = widen(unpack(pack(narrow(sent))))
    np.testing.assert_allclose(found.tensors["w"], plain, rtol=2**-11)
    np.testing.assert_allclose(found.tensors["exp_avg_sq.w"], squares, rtol=2**-9)
    assert {name: tensor.dtype for name, tensor in found.tensors.items()} == {
        "w": np.float32,
        "exp_avg_sq.w": np.float32,
        "counts": counts.dtype,
    }
    assert (found.kind, found.round, found.numbers) == ("train", 2, {"steps": 3.0})
    assert narrow(sent).num_bytes == 2 * 1000 + counts.nbytes
    with pytest.raises(UpdateRefusedError, match="finite"):
        check(narrow(Message("train", tensors={"w": np.float32([1e6])})), "train", {"w": (1,)})


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ('{"kind": "train", "round": 1e999, "numbers": {}, "texts": {}}', "infinite"),
        ('{"kind": "train", "round": 0, "numbers": {"n": 1e999}, "texts": {}}', "a number"),
        ('{"kind": "train", "round": 0, "numbers": {"n": NaN}, "texts": {}}', "not a number"),
        ("[" * 200_000, "nested"),
        ('{"kind": "train", "round": ' + "9" * 5000 + ', "numbers": {}, "texts": {}}', "long"),
    ],
    ids=lambda value: value if len(value) < 20 else "",
)
def test_headers_that_no_honest_sender_writes_are_refused(said: str, where: str) -> None:
    content = safetensors.numpy.save({"w": np.ones(2, np.float32)}, {"sojourn": said})
    with pytest.raises(UpdateRefusedError, match="safetensors"):
        unpack(content)

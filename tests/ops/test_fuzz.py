"""Whatever an operation is given: the reference's result, or a ValueError of one line."""

import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.library import CustomOpDef
from torch.utils._python_dispatch import TorchDispatchMode

pytest.importorskip("hypothesis")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ivn.benchmarks.steps.reference_ops import modules
from ivn.keys import Purpose, make_keys
from ivn.model.diffusion import training_steps
from ivn.ops import diffusion, distance, masking, modulation, norm, patches, random, tokens
from ivn.ops._dtype import wide_dtype

SHARE = int(os.environ.get("IVN_SOAK", "10"))
FUZZ = settings(
    max_examples=8 * SHARE,
    deadline=None,
    database=None,
    derandomize=SHARE == 10,  # the same cases each time, but in a soak
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
FLOATS = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
DTYPES = [*FLOATS, torch.int64, torch.int32, torch.uint8, torch.bool]
STEP = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 4e-3}
PIXELS = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25)}
Arguments = dict[str, object]


@dataclass(frozen=True)
class Operation:
    """A public function, what it should give, and valid arguments for sizes and a dtype.

    ``trained`` names the arguments that get gradients, ``index`` that which is one.
    """

    run: Callable[..., object]
    reference: Callable[..., object]
    arguments: Callable[[Callable[[int, int], int], torch.dtype], Arguments]
    trained: tuple[str, ...] = ()
    index: str = ""


def rows(shape, dtype) -> Tensor:
    return torch.randn(shape, dtype=torch.float64).to(dtype)


def chosen(B: int, N: int, K: int) -> Tensor:
    return torch.rand(B, N).argsort(1)[:, :K]


def gather_arguments(size, dtype):
    B, N, C = size(0, 3), size(1, 9), size(0, 20)
    return {"tokens": rows((B, N, C), dtype), "index": chosen(B, N, size(0, N))}


def add_arguments(size, dtype):
    B, P, C, clips = size(0, 3), size(1, 9), size(1, 20), size(1, 2)
    K = size(0, clips * P)
    return {
        "tokens": rows((B, K, C), dtype),
        "index": chosen(B, clips * P, K),
        "positions": rows((P, C), wide_dtype(dtype)),
        "heads": rows((size(0, P), C), wide_dtype(dtype)),
        "clips": clips,
        "dtype": dtype if size(0, 1) else wide_dtype(dtype),
    }


def place_arguments(size, dtype):
    B, P, C, clips = size(0, 3), size(1, 9), size(1, 20), size(1, 2)
    K = size(0, clips * P)
    return {
        "tokens": rows((B, K, C), dtype),
        "index": chosen(B, clips * P, K),
        "fill": rows(C, wide_dtype(dtype)),
        "positions": rows((P, C), wide_dtype(dtype)),
        "clips": clips,
    }


def patch_arguments(size, dtype):
    B, T, p = size(0, 2), size(1, 2), size(1, 15)
    h, w = size(1, 3), size(1, 3)
    N = T * h * w
    return {
        "video": torch.randint(256, (B, T, h * p, w * p, 3), dtype=torch.uint8),
        "index": chosen(B, N, size(0, N)),
        "patch_size": p,
        "dtype": dtype,
    }


def patch_reference(layout, video, index, patch_size, dtype):
    plain = partial(patches.gather_patches_reference, video, index, patch_size)
    eps = 1e-6 if layout == patches.Layout.EMBEDDING else 0.0
    return plain(PIXELS["mean"], PIXELS["std"], eps, dtype, layout)


def keyed(size):
    return make_keys(size(0, 99), size(0, 99), range(size(0, 3)))


def sample_arguments(size, dtype):
    keys, L = keyed(size), size(1, 9)
    weights = 0.1 + torch.rand(len(keys), size(1, 3), L, dtype=torch.float64)
    weights = weights.to(dtype if dtype == torch.float64 else torch.float32)
    return {"weights": weights, "keys": keys, "kept": size(0, L)}


def top_arguments(size, dtype):
    given = sample_arguments(size, dtype)
    del given["keys"]
    return given


def top_reference(weights, kept):
    none = torch.zeros(len(weights), 4, dtype=torch.int64)
    return masking.sample_tokens_reference(weights, none, kept, False)


def block_arguments(size, _):
    rows_, columns = size(1, 6), size(1, 6)
    sizes = {"count": size(0, 3), "height": size(1, rows_), "width": size(1, columns)}
    return {"keys": keyed(size), "rows": rows_, "columns": columns, **sizes, "view": size(0, 2)}


def open_arguments(size, _):
    keys, L, frames = keyed(size), size(1, 9), size(1, 3)
    hidden = torch.rand(len(keys), L) < 0.5
    fewest = int((~hidden).sum(1).min()) * frames if len(hidden) else 0
    chosen = {"frames": frames, "kept": size(0, fewest), "view": size(0, 2)}
    return {"hidden": hidden, "keys": keys} | chosen


def first_arguments(size, dtype):
    given = open_arguments(size, dtype)
    del given["keys"], given["view"]
    return given


def first_reference(hidden, frames, kept):
    none = torch.zeros(len(hidden), 4, dtype=torch.int64)
    return masking.open_tokens_reference(hidden, none, frames, kept, False, 0)


def other_arguments(size, _):
    N = size(0, 9)
    return {"index": chosen(size(0, 3), N, size(0, N)), "N": N}


def add_norm_arguments(size, dtype):
    shape = (size(0, 3), size(0, 3))
    C, wide = size(1, 20), wide_dtype(dtype)
    x_dtype = dtype if size(0, 1) else wide
    return {
        "x": rows((*shape, C), x_dtype),
        "branch": rows((*shape, C), dtype),
        "scale": rows(C, wide),
        "drop": torch.rand(shape).round().to(wide),
        "weight": rows(C, wide),
    }


def rms_norm_arguments(size, dtype):
    C, x_dtype = size(1, 20), dtype if size(0, 1) else wide_dtype(dtype)
    x = rows((size(0, 3), size(0, 3), C), x_dtype)
    return {"x": x, "weight": rows(C, wide_dtype(dtype)), "dtype": dtype}


def rms_norm_reference(x, weight, dtype):
    return norm.rms_norm_reference(x, weight.to(wide_dtype(x.dtype)), 1e-6, dtype)


def qk_arguments(size, dtype):
    C = size(1, 20)
    weights = rows((2, C), wide_dtype(dtype)).unbind()
    return {"qkv": rows((size(0, 5), 3 * C), dtype), "q_weight": weights[0], "k_weight": weights[1]}


def add_norm_reference(x, branch, scale, drop, weight):
    C = x.shape[-1]
    flat = (x.reshape(-1, C), branch.reshape(-1, C), scale, drop.reshape(-1), weight)
    return tuple(one.view(x.shape) for one in norm.add_norm_reference(*flat, 1e-6))


def qk_reference(qkv, q_weight, k_weight):
    weights = torch.stack([q_weight, k_weight]).to(wide_dtype(qkv.dtype))
    split = qkv.reshape(-1, 3, qkv.shape[-1] // 3)
    return norm.qk_norm_reference(split, weights, 1e-6).view(qkv.shape)


def modulate_arguments(size, dtype):
    R, W = size(0, 5), size(2, 20)
    chunks = rows((R, 2 * W), dtype).chunk(2, dim=1)
    affine = rows((2, W), wide_dtype(dtype)).unbind() if size(0, 1) else (None, None)
    names = ("x", "shift", "scale", "weight", "bias")
    return dict(zip(names, (rows((R, W), dtype), *chunks, *affine), strict=True))


def gated_arguments(size, dtype):
    given = modulate_arguments(size, dtype)
    gate, branch = (rows(given["x"].shape, dtype) for _ in range(2))
    return given | {"gate": gate, "branch": branch}


def gated_reference(x, gate, branch, shift, scale, weight, bias):
    affine = affine_of(x, weight, bias)
    plain = modulation.gated_modulate_reference
    return plain(x, gate, branch, shift, scale, affine, 1e-6)


def affine_of(x, weight, bias):
    if weight is None and bias is None:
        return x.new_empty(0, x.shape[-1], dtype=wide_dtype(x.dtype))
    return torch.stack([weight, bias]).to(wide_dtype(x.dtype))


def modulate_reference(x, shift, scale, weight, bias):
    return modulation.modulate_reference(x, shift, scale, affine_of(x, weight, bias), 1e-6)


def distance_arguments(size, dtype):
    R, D = size(0, 5), size(2, 20)
    affine = rows((2, D), wide_dtype(dtype)).unbind()
    inputs = {"pred": rows((R, D), dtype), "target": rows((R, D), dtype)}
    return inputs | {"weight": affine[0], "bias": affine[1]}


def distance_reference(pred, target, weight, bias):
    affine = torch.stack([weight, bias]).to(wide_dtype(pred.dtype))
    C = pred.shape[-1]
    plain = distance.cosine_distance_reference
    return plain(pred.reshape(-1, C), target.reshape(-1, C), affine, 1e-5, 1e-6).view(
        pred.shape[:-1]
    )


def noisy_arguments(size, dtype):
    keys, P, D = keyed(size), size(0, 3), size(1, 20)
    wide, R = wide_dtype(dtype), len(keys) * P
    return {
        "target": rows((R, D), wide),
        "keys": keys,
        "timestep": torch.randint(1000, (R,)),
        "steps": training_steps(torch.device("cpu"), wide),
        "dtype": dtype,
    }


def loss_arguments(size, dtype):
    given = noisy_arguments(size, dtype)
    R, D = given["target"].shape
    del given["dtype"]
    return {"output": rows((R, 2 * D), dtype)} | given


def noisy_reference(target, keys, timestep, steps, dtype):
    word = Purpose.NOISE << 24
    return diffusion.noisy_target_reference(target, keys, timestep, steps, word, dtype)


def loss_reference(output, target, keys, timestep, steps):
    word = Purpose.NOISE << 24
    return diffusion.diffusion_loss_reference(output, target, keys, timestep, steps, word)


def word_arguments(size, _):
    return {"keys": keyed(size), "count": size(0, 300), "layer": size(0, 3)}


def draw_arguments(size, dtype):
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return word_arguments(size, dtype) | {"dtype": wide}


def word_reference(keys, count, layer):
    return random.random_words_reference(keys, count, Purpose.NOISE << 24 | layer)


def normal_reference(keys, count, layer, dtype):
    return random.normal_reference(keys, count, Purpose.NOISE << 24 | layer, dtype)


OPERATIONS = {
    "gather_tokens": Operation(
        tokens.gather_tokens, tokens.gather_tokens_reference, gather_arguments, ("tokens",), "index"
    ),
    "add_positions": Operation(
        tokens.add_positions, tokens.add_positions_reference, add_arguments,
        ("tokens", "positions", "heads"), "index",
    ),
    "place_tokens": Operation(
        tokens.place_tokens, tokens.place_tokens_reference, place_arguments,
        ("tokens", "fill", "positions"), "index",
    ),
    "gather_patches": Operation(
        partial(patches.gather_patches, **PIXELS),
        partial(patch_reference, patches.Layout.EMBEDDING), patch_arguments, (), "index",
    ),
    "gather_target_patches": Operation(
        partial(patches.gather_target_patches, **PIXELS),
        partial(patch_reference, patches.Layout.TARGET), patch_arguments, (), "index",
    ),
    "sample_tokens": Operation(
        masking.sample_tokens, partial(masking.sample_tokens_reference, drawn=True),
        sample_arguments,
    ),
    "top_tokens": Operation(masking.top_tokens, top_reference, top_arguments),
    "hide_blocks": Operation(
        masking.hide_blocks, lambda **given: masking.hide_blocks_reference(**given).bool(),
        block_arguments,
    ),
    "first_open_tokens": Operation(masking.first_open_tokens, first_reference, first_arguments),
    "random_open_tokens": Operation(
        masking.random_open_tokens,
        partial(masking.open_tokens_reference, shuffled=True), open_arguments,
    ),
    "other_tokens": Operation(
        masking.other_tokens, masking.other_tokens_reference, other_arguments, (), "index"
    ),
    "rms_norm": Operation(
        norm.rms_norm, rms_norm_reference, rms_norm_arguments, ("x", "weight")
    ),
    "add_norm": Operation(
        norm.add_norm, add_norm_reference, add_norm_arguments, ("x", "branch", "scale", "weight")
    ),
    "qk_norm": Operation(
        norm.qk_norm, qk_reference, qk_arguments, ("qkv", "q_weight", "k_weight")
    ),
    "modulate": Operation(
        modulation.modulate, modulate_reference, modulate_arguments,
        ("x", "shift", "scale", "weight", "bias"),
    ),
    "gated_modulate": Operation(
        modulation.gated_modulate, gated_reference, gated_arguments,
        ("x", "gate", "branch", "shift", "scale", "weight", "bias"),
    ),
    "cosine_distance": Operation(
        distance.cosine_distance, distance_reference, distance_arguments,
        ("pred", "weight", "bias"),
    ),
    "noisy_target": Operation(diffusion.noisy_target, noisy_reference, noisy_arguments),
    "diffusion_loss": Operation(
        diffusion.diffusion_loss, loss_reference, loss_arguments, ("output",)
    ),
    "random_words": Operation(
        partial(random.random_words, purpose=Purpose.NOISE),
        word_reference, word_arguments,
    ),
    "normal": Operation(
        partial(random.normal, purpose=Purpose.NOISE),
        normal_reference, draw_arguments,
    ),
}  # fmt: skip


def laid_out(tensor: Tensor, how: str) -> Tensor:
    """The same values elsewhere in memory."""
    if how == "across" and tensor.ndim > 1:
        return tensor.transpose(-1, -2).contiguous().transpose(-1, -2)
    if how == "every second" and tensor.ndim > 0:
        return tensor.repeat_interleave(2, dim=-1)[..., ::2]
    if how == "offset":
        return torch.cat([tensor.new_zeros(1), tensor.flatten()])[1:].view(tensor.shape)
    return tensor


def spoilt(draw, arguments: Mapping[str, object], index: str) -> Arguments:
    """One argument changed so that it may be wrong."""
    name = draw(st.sampled_from(sorted(arguments)))
    value, changed = arguments[name], dict(arguments)
    if not isinstance(value, Tensor):
        if isinstance(value, int):
            changed[name] = draw(st.sampled_from([-1, 0, value + 1, 2 * value + 7]))
        return changed
    kinds = ["dtype", "rows", "features", "dimension more", "dimension less"]
    kind = draw(st.sampled_from([*kinds, *["index"] * (5 * (name == index))]))
    if kind == "dtype":
        changed[name] = value.to(draw(st.sampled_from(DTYPES)))
    elif kind == "index" and value.numel():
        wrong = value.clone(memory_format=torch.contiguous_format)
        values = [-1, 2**40, -(2**62), int(value.flatten()[0]), int(value.max()) + 1]
        wrong.view(-1)[-1] = draw(st.sampled_from(values))
        changed[name] = wrong
    elif kind == "dimension more":
        changed[name] = value[None]
    elif kind == "dimension less" and value.ndim and len(value):
        changed[name] = value[0]
    elif kind in ("rows", "features") and value.ndim:
        dim = 0 if kind == "rows" else -1
        changed[name] = torch.cat([value, value.narrow(dim, 0, min(1, value.shape[dim]))], dim)
    return changed


def gradients(function, arguments: Arguments, trained) -> list[Tensor]:
    """Outputs, and the gradients of those that are ``trained``."""
    leaves = {
        name: arguments[name].detach().requires_grad_()
        for name in trained
        if isinstance(arguments[name], Tensor) and arguments[name].is_floating_point()
    }
    outputs = function(**arguments | leaves)
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    if not leaves or not any(output.requires_grad for output in outputs):
        return [out.detach() for out in outputs]
    draw = torch.Generator().manual_seed(0)
    total = sum(
        (out.double() * torch.randn(out.shape, generator=draw, dtype=torch.float64)).sum()
        for out in outputs
    )
    found = torch.autograd.grad(total, list(leaves.values()), materialize_grads=True)
    return [*(out.detach() for out in outputs), *found]


def assert_close(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert len(ours) == len(theirs)
    narrowest = max((STEP.get(one.dtype, 0) for one in ours), default=0)
    for actual, expected in zip(ours, theirs, strict=True):
        assert actual.dtype == expected.dtype or not actual.is_floating_point()
        scale = float(expected.double().abs().max()) if expected.numel() else 0.0
        torch.testing.assert_close(
            actual.double(), expected.double(), rtol=0, atol=narrowest * max(scale, 1.0)
        )


@pytest.mark.parametrize("name", OPERATIONS)
@FUZZ
@given(data=st.data())
def test_gives_the_reference_s_result_or_one_clear_line(name, data):
    operation, draw = OPERATIONS[name], data.draw
    torch.manual_seed(draw(st.integers(0, 2**16)))
    valid = operation.arguments(lambda a, b: draw(st.integers(a, b)), draw(st.sampled_from(FLOATS)))
    how = draw(st.sampled_from(["", "across", "every second", "offset"]))
    valid = {
        key: laid_out(value, how) if isinstance(value, Tensor) else value
        for key, value in valid.items()
    }
    wrong = draw(st.booleans())
    arguments = spoilt(draw, valid, operation.index) if wrong else valid
    try:
        ours = gradients(operation.run, arguments, operation.trained)
    except ValueError as error:
        assert "\n" not in str(error) and str(error).startswith((f"{name}:", "keys")), str(error)
        assert wrong or "expected on a CPU" in str(error), f"refused what is right: {error}"
        return
    assert_close(ours, gradients(operation.reference, arguments, operation.trained))


class Recorder(TorchDispatchMode):
    """Keeps the calls of operations ``ivn::*``, gradients among them, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, list[tuple]] = defaultdict(list)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.namespace == "ivn":
            self.calls[function.name()].append((function, args))
        return function(*args, **kwargs or {})


def recorded(dtype: torch.dtype) -> dict[str, list[tuple]]:
    """Returns all calls by :data:`OPERATIONS`, with and without what an argument may lack."""
    with Recorder() as recorder:
        for operation in OPERATIONS.values():
            for choice in (0, 1):
                size = lambda low, high, choice=choice: choice if (low, high) == (0, 1) else high  # noqa: E731
                gradients(operation.run, operation.arguments(size, dtype), operation.trained)
    return recorder.calls


def test_every_operation_and_its_gradient_is_among_these():
    declared = {
        f"ivn::{name[1:]}"
        for module in modules()
        for name, value in vars(module).items()
        if isinstance(value, CustomOpDef)
    }
    assert recorded(torch.float32).keys() == declared


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fakes_are_like_the_results(dtype):
    """Those of gradients, too, and where arguments have different dtypes."""
    for calls in recorded(dtype).values():
        for function, arguments in calls:
            torch.library.opcheck(function, arguments, test_utils="test_faketensor")

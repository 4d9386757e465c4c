"""``ivn::gather_tokens`` and its kin: select tokens, add positions, put tokens in their places.

Legend: B batch, N tokens, M or K kept tokens, H heads (cls tokens), P positions, C or D features.
"""

import torch
from torch import Tensor

from ._dtype import compiled_dtype, wide_dtype
from ._library import TYPES, call, check_index
from ._register import operation

# Number of partial sums of the mask token's gradient; on a GPU each is that of a block.
_PARTS = {"cpu": 32, "cuda": 1024}


def gather_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    """Returns the tokens at ``index``, in its order.

    Args:
        tokens: ``[B, N, D]``, any dtype. Differentiable.
        index: ``[B, M]`` int64, each in ``[0, N)`` and at most once per row. On a CPU another
            value, or a repeated one, is a ValueError; a GPU checks only under
            ``IVN_CHECK_INDEX=1`` (:func:`check_index`).

    Returns:
        ``[B, M, D]``, contiguous.
    """
    _check_rows("gather_tokens", tokens, index)
    return _gather_tokens(tokens.contiguous(), index.contiguous())


def add_positions(
    tokens: Tensor,
    index: Tensor,
    positions: Tensor,
    heads: Tensor,
    *,
    clips: int = 1,
    dtype: torch.dtype,
) -> Tensor:
    """Returns heads and then tokens, each with its position added.

    Row ``h < H`` is ``heads[h] + positions[h]``, row ``H + k`` is ``tokens[b, k] +
    positions[index[b, k] % P]``, computed in fp32, or fp64, and rounded once.

    Args:
        tokens: ``[B, K, C]``; it may be a part of longer rows, such as ``hidden[:, 4:]``, of which
            no copy is made.
        index: ``[B, K]`` int64, none twice in a row: rows of the table, or of ``clips`` tables
            laid end to end, in ``[0, clips * P)``. Checked as in :func:`gather_tokens`.
        positions: ``[P, C]``, usually an fp32 parameter.
        heads: ``[H, C]``, usually an fp32 parameter; the first ``H`` positions are theirs.
        clips: number of clips that lie end to end in a row of ``tokens``.
        dtype: dtype of the result: that of ``tokens``, or fp32 if that is narrower.

    Returns:
        ``[B, H + K, C]``. Differentiable in tokens, positions and heads.
    """
    _check_rows("add_positions", tokens, index)
    _check_table("add_positions", tokens, positions, clips)
    _check_floating("add_positions", positions=positions, heads=heads)
    if index.shape[1] != tokens.shape[1]:
        raise ValueError(
            f"add_positions: index is {list(index.shape)}, expected {list(tokens.shape[:2])}"
        )
    if (
        heads.shape[1:] != tokens.shape[2:]
        or len(heads) > len(positions)
        or heads.device != tokens.device
    ):
        raise ValueError(
            f"add_positions: heads is {list(heads.shape)} on {heads.device}, expected "
            f"[H, {tokens.shape[2]}] with H <= {len(positions)} on {tokens.device}"
        )
    if dtype not in (tokens.dtype, wide_dtype(tokens.dtype)):
        raise ValueError(
            f"add_positions: tokens is {tokens.dtype} and dtype {dtype}, expected the same or "
            f"{wide_dtype(tokens.dtype)}"
        )
    real, compiled = wide_dtype(dtype), compiled_dtype(dtype)
    if tokens.dtype not in TYPES:
        tokens = tokens.to(compiled)
    tables = (table.to(real).contiguous() for table in (positions, heads))
    return _add_positions(tokens, index.contiguous(), *tables, clips, compiled).to(dtype)


def place_tokens(
    tokens: Tensor, index: Tensor, fill: Tensor, positions: Tensor, *, clips: int = 1
) -> Tensor:
    """Returns whole sequences, with each token in its slot and ``fill`` in the others.

    Row ``n`` is the token whose index is ``n``, or else ``fill``, plus ``positions[n % P]``;
    computed in fp32, or fp64, and rounded once.

    Args:
        tokens: ``[B, K, C]``. Differentiable, as are fill and positions.
        index: ``[B, K]`` int64 in ``[0, clips * P)``, none twice in a row. Checked as in
            :func:`gather_tokens`.
        fill: mask token, ``[C]``, usually an fp32 parameter.
        positions: ``[P, C]``, usually an fp32 parameter.
        clips: number of clips, of ``P`` slots each, that lie end to end in a row.

    Returns:
        ``[B, clips * P, C]`` in the dtype of ``tokens``.
    """
    _check_rows("place_tokens", tokens, index)
    _check_table("place_tokens", tokens, positions, clips)
    if index.shape[1] != tokens.shape[1]:
        raise ValueError(
            f"place_tokens: index is {list(index.shape)}, expected {list(tokens.shape[:2])}"
        )
    _check_floating("place_tokens", positions=positions, fill=fill)
    if fill.shape != tokens.shape[2:] or fill.device != tokens.device:
        raise ValueError(
            f"place_tokens: fill is {list(fill.shape)} on {fill.device}, expected "
            f"[{tokens.shape[2]}] on {tokens.device}"
        )
    real = wide_dtype(tokens.dtype)
    tables = (table.to(real).contiguous() for table in (fill, positions))
    rows = tokens.to(compiled_dtype(tokens.dtype)).contiguous()
    return _place_tokens(rows, index.contiguous(), *tables, clips).to(tokens.dtype)


def gather_tokens_reference(tokens: Tensor, index: Tensor) -> Tensor:
    """Computes ``ivn::gather_tokens`` in plain PyTorch."""
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[2]))


def scatter_tokens_reference(tokens: Tensor, index: Tensor, N: int) -> Tensor:
    """Computes ``ivn::scatter_tokens``, the gradient of a gather, in plain PyTorch."""
    full = tokens.new_zeros(tokens.shape[0], N, tokens.shape[2])
    return full.scatter(1, index.unsqueeze(-1).expand_as(tokens), tokens)


def add_positions_reference(
    tokens: Tensor, index: Tensor, positions: Tensor, heads: Tensor, clips: int, dtype: torch.dtype
) -> Tensor:
    """Computes ``ivn::add_positions`` in plain PyTorch, where ``clips`` makes no difference."""
    H, real = len(heads), positions.dtype
    places = positions[index % len(positions)]
    cls = (heads + positions[:H]).expand(tokens.shape[0], -1, -1)
    return torch.cat([cls, tokens.to(real) + places], dim=1).to(dtype)


def place_tokens_reference(
    tokens: Tensor, index: Tensor, fill: Tensor, positions: Tensor, clips: int
) -> Tensor:
    """Computes ``ivn::place_tokens`` in plain PyTorch."""
    B, _, C = tokens.shape
    full = fill.expand(B, clips * len(positions), C)
    full = full.scatter(1, index[..., None].expand(-1, -1, C), tokens.to(fill.dtype))
    return (full + positions.repeat(clips, 1)).to(tokens.dtype)


@operation(
    fake=lambda tokens, N: tokens.new_empty(tokens.shape[0], N, tokens.shape[2]),
    saves="index",
    gradients={"tokens": lambda grad, index: torch.ops.ivn.gather_tokens(grad, index)},
)
def _scatter_tokens(tokens: Tensor, index: Tensor, N: int) -> Tensor:
    B, M, D = tokens.shape
    full = tokens.new_empty(B, N, D)
    inverse = index.new_empty(B, N)
    row_bytes = D * tokens.element_size()
    call("ivn_scatter_tokens", tokens.device, tokens, index, full, inverse, B, N, M, row_bytes)
    return full


@operation(
    check=lambda tokens, index: check_index("gather_tokens", index, tokens.shape[1]),
    fake=lambda tokens, index: tokens.new_empty(*index.shape, tokens.shape[2]),
    saves=lambda tokens, index: (index, tokens.shape[1]),
    gradients={"tokens": _scatter_tokens},
)
def _gather_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    B, N, D = tokens.shape
    kept = tokens.new_empty(*index.shape, D)
    row_bytes = D * tokens.element_size()
    call("ivn_gather_tokens", tokens.device, tokens, index, kept, B, N, index.shape[1], row_bytes)
    return kept


@operation(
    fake=lambda grad, P, H: tuple(
        grad.new_empty(rows, grad.shape[2], dtype=wide_dtype(grad.dtype)) for rows in (P, H)
    )
)
def _add_positions_backward(
    grad: Tensor, index: Tensor, P: int, H: int, clips: int
) -> tuple[Tensor, Tensor]:
    (B, K), C = index.shape, grad.shape[2]
    real = wide_dtype(grad.dtype)
    positions, heads = grad.new_empty(P, C, dtype=real), grad.new_empty(H, C, dtype=real)
    inverse = index.new_empty(B, clips * P)
    sizes = (B, K, C, P, H, clips, TYPES[grad.dtype])
    pointers = (grad, index, positions, heads, inverse)
    call("ivn_add_positions_backward", grad.device, *pointers, *sizes)
    return positions, heads


@operation(
    check=lambda index, positions, clips: check_index(
        "add_positions", index, clips * len(positions)
    ),
    fake=lambda tokens, heads, dtype: tokens.new_empty(
        tokens.shape[0], heads.shape[0] + tokens.shape[1], tokens.shape[2], dtype=dtype
    ),
    saves=lambda index, positions, heads, clips: (
        index,
        positions.shape[0],
        heads.shape[0],
        clips,
    ),
    gradients={
        "positions, heads": _add_positions_backward,
        "tokens": lambda grad, index, P, H, clips: grad[:, H:],
    },
)
def _add_positions(
    tokens: Tensor, index: Tensor, positions: Tensor, heads: Tensor, clips: int, dtype: torch.dtype
) -> Tensor:
    B, K, C = tokens.shape
    (P, _), H = positions.shape, len(heads)
    if tokens.stride()[1:] != (C, 1):
        tokens = tokens.contiguous()
    out = tokens.new_empty(B, H + K, C, dtype=dtype)
    sizes = (B, K, C, P, H, tokens.stride(0), TYPES[dtype], TYPES[tokens.dtype])
    rows = tokens.data_ptr()  # since there may be gaps between batches
    call("ivn_add_positions", tokens.device, rows, index, positions, heads, out, *sizes)
    return out


@operation(
    fake=lambda grad, index, P: (
        grad.new_empty(*index.shape, grad.shape[2]),
        grad.new_empty(grad.shape[2], dtype=wide_dtype(grad.dtype)),
        grad.new_empty(P, grad.shape[2], dtype=wide_dtype(grad.dtype)),
    )
)
def _place_tokens_backward(
    grad: Tensor, index: Tensor, P: int, clips: int
) -> tuple[Tensor, Tensor, Tensor]:
    (B, K), C, parts = index.shape, grad.shape[2], _PARTS[grad.device.type]
    real = wide_dtype(grad.dtype)
    tokens, positions = grad.new_empty(B, K, C), grad.new_empty(P, C, dtype=real)
    fill = grad.new_empty(parts, C, dtype=real)
    inverse = index.new_empty(B, clips * P)
    sizes = (B, K, C, P, clips, parts, TYPES[grad.dtype])
    pointers = (grad, index, tokens, positions, fill, inverse)
    call("ivn_place_tokens_backward", grad.device, *pointers, *sizes)
    return tokens, fill.sum(0), positions


@operation(
    check=lambda index, positions, clips: check_index(
        "place_tokens", index, clips * len(positions)
    ),
    fake=lambda tokens, positions, clips: tokens.new_empty(
        tokens.shape[0], clips * positions.shape[0], tokens.shape[2]
    ),
    saves=lambda index, positions, clips: (index, positions.shape[0], clips),
    gradients={"tokens, fill, positions": _place_tokens_backward},
)
def _place_tokens(
    tokens: Tensor, index: Tensor, fill: Tensor, positions: Tensor, clips: int
) -> Tensor:
    B, K, C = tokens.shape
    P = len(positions)
    out = tokens.new_empty(B, clips * P, C)
    inverse = index.new_empty(B, clips * P)
    sizes = (B, K, C, P, clips, TYPES[tokens.dtype])
    call("ivn_place_tokens", tokens.device, tokens, index, fill, positions, out, inverse, *sizes)
    return out


def _check_rows(op: str, tokens: Tensor, index: Tensor) -> None:
    if tokens.ndim != 3 or index.ndim != 2 or tokens.shape[0] != index.shape[0]:
        raise ValueError(
            f"{op}: tokens is {list(tokens.shape)} but index is {list(index.shape)}, "
            "expected [B, N, D] and [B, M]"
        )
    if index.dtype != torch.int64 or index.device != tokens.device:
        raise ValueError(
            f"{op}: index is {index.dtype} on {index.device}, expected int64 on {tokens.device}"
        )


def _check_table(op: str, tokens: Tensor, positions: Tensor, clips: int) -> None:
    if tokens.dtype not in (*TYPES, torch.float16):
        raise ValueError(f"{op}: tokens is {tokens.dtype}, expected fp32, bf16, fp16 or fp64")
    if (
        positions.shape[1:] != tokens.shape[2:]
        or len(positions) < 1
        or positions.device != tokens.device
    ):
        raise ValueError(
            f"{op}: positions is {list(positions.shape)} on {positions.device}, expected "
            f"[P, {tokens.shape[2]}] on {tokens.device}"
        )
    if clips < 1:
        raise ValueError(f"{op}: clips is {clips}, expected at least 1")


def _check_floating(op: str, **tables: Tensor) -> None:
    for name, table in tables.items():
        if not table.is_floating_point():
            raise ValueError(f"{op}: {name} is {table.dtype}, expected floating point")

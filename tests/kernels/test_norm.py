"""The kernels compile without spills."""

import json

import pytest

from tests.processes import run_code

pytest.importorskip("triton")

# The widths of every preset, from 192 to 1408, lie in these blocks.
COMPILE = """
import json
from ivn.kernels import norm
from tests.kernels.ahead_of_time import compile_for
costs = {}
for arch in (80, 90):
    for x, branch, real, C in CASES:
        rows = {"C": "i32", "eps": "fp32"}
        vectors = {"scale_ptr": "*fp32", "weight_ptr": "*fp32", "drop_ptr": "*" + real}
        forward = rows | vectors | {name: "*" + x for name in ("x_ptr", "stream_ptr")}
        forward |= {name: "*" + branch for name in ("branch_ptr", "normed_ptr")}
        backward = rows | vectors | {"R": "i32"}
        backward |= {n: "*" + x for n in ("grad_stream_ptr", "stream_ptr", "grad_x_ptr")}
        backward |= {n: "*" + branch for n in ("grad_normed_ptr", "branch_ptr", "grad_branch_ptr")}
        backward |= {n: "*" + real for n in ("grad_scale_ptr", "grad_weight_ptr")}
        qk = rows | {"weights_ptr": "*" + real, "qkv_ptr": "*" + branch}
        qk_backward = qk | {"R": "i32", "grad_weights_ptr": "*" + real}
        qk_backward |= {"grad_ptr": "*" + branch, "grad_qkv_ptr": "*" + branch}
        kernels = [
            (norm._add_norm_kernel, forward),
            (norm._add_norm_backward_kernel, backward),
            (norm._qk_norm_kernel, qk | {"normed_ptr": "*" + branch}),
            (norm._qk_norm_backward_kernel, qk_backward),
        ]
        options = norm._options(C)
        block = {"BLOCK_C": options.pop("BLOCK_C")}
        for kernel, types in kernels:
            cost = compile_for(arch, kernel, types, block, **options)
            costs[f"{kernel.__name__} sm_{arch} {x} {branch} {C}"] = [cost.spilled, cost.shared]
print(json.dumps(costs))
"""
CASES = [
    ("bf16", "bf16", "fp32", 192),
    ("bf16", "bf16", "fp32", 768),
    ("bf16", "bf16", "fp32", 1024),
    ("bf16", "bf16", "fp32", 1408),
    ("fp32", "bf16", "fp32", 1408),
    ("fp32", "fp32", "fp32", 384),
]


def test_no_kernel_spills_and_all_fit_the_shared_memory():
    # A process of its own: in this one the kernels may be bound to the interpreter.
    costs = json.loads(run_code(COMPILE.replace("CASES", repr(CASES))))
    assert len(costs) == 8 * len(CASES)
    assert {name: cost for name, cost in costs.items() if cost[0] or cost[1] > 48 * 1024} == {}

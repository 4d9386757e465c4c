"""Clips of a group keep equally many tokens, whoever holds them, and the loss does not tell who."""

from dataclasses import replace
from itertools import chain, pairwise

import pytest
import torch

from ivn.data.batch import Batch
from ivn.data.config import DataConfig
from ivn.data.loader.loader import ClipLoader
from ivn.data.manifest.listing import list_clips
from ivn.keys import make_keys
from ivn.model.encoder import Encoder
from ivn.model.packed import Packed
from ivn.ops.masking import hide_blocks
from ivn.stages import blocks as module
from ivn.stages.blocks import Blocks
from ivn.stages.masks import Masking
from ivn.stages.terms import added
from ivn.train.gradients import compute_gradients
from tests.media.videos import noise, write_video
from tests.small import random_batch, small_config, small_stage
from tests.stages.variants import teacher

B, SIZE = 30, 14
GRID = (2, 16, 16)
LARGE, MANY = Blocks(2, 0.7), Blocks(8, 0.15)
GROUPS = (range(14), range(14, 28), range(28, 30))


def masking(*blocks, group=SIZE, global_batch=B) -> Masking:
    return Masking("multi_block", 0.8, blocks, global_batch, group)


def batch_of(rows=range(B), *, repeats=1) -> Batch:
    """Rows of the third global batch of an epoch; masks ask for the size of their frames alone."""
    places = B // repeats
    index = torch.tensor(rows)
    keys = make_keys(5, 1, 2 * places + index // repeats)
    keys[:, 3] = index % repeats
    video = torch.zeros(1, GRID[0], 224, 224, 3, dtype=torch.uint8).expand(
        len(rows), -1, -1, -1, -1
    )
    return Batch({"student": video}, keys, repeats=repeats)


def drawn(masks: Masking, batch: Batch, view=0) -> list[list[int]]:
    """Each clip's visible tokens."""
    visible, masked = masks.draw(batch, encoder(), torch.empty(0), view=view)
    if isinstance(visible, Packed):
        assert sum(visible.lengths) + sum(masked.lengths) == len(batch) * 512
        return [part.tolist() for part in visible.index.split(visible.lengths)]
    assert visible.shape[1] + masked.shape[1] == 512
    return visible.tolist()


def encoder() -> Encoder:
    with torch.device("meta"):
        return Encoder(small_config("stage2-tiny").model.encoder)


def open_places(blocks: Blocks, rows, view=0, *, repeats=1) -> torch.Tensor:
    """Places of a frame that no block hides, of the clips of a group: from the definition."""
    keys = batch_of(rows, repeats=repeats).keys
    height, width = module._block_size(keys[:1], GRID, blocks, view)
    sizes = {"count": blocks.count, "height": height, "width": width, "view": view}
    return ~hide_blocks(keys, 16, 16, **sizes)


def fewest(blocks: Blocks, rows, view=0) -> int:
    """Open tokens of the clip of a group that has fewest."""
    open_tokens = open_places(blocks, rows, view).sum(1) * GRID[0]
    return min(int(open_tokens.min()), int(blocks.max_keep * 512))


@pytest.mark.parametrize("view", [0, 1])
@pytest.mark.parametrize("truncate", ["prefix", "random"])
def test_a_group_keeps_as_many_as_its_own_fewest_and_the_last_takes_what_is_left(truncate, view):
    blocks = replace(LARGE, truncate=truncate)
    kept = [len(tokens) for tokens in drawn(masking(blocks, blocks), batch_of(), view)]
    expected = [fewest(blocks, rows, view) for rows in GROUPS]
    assert len(set(expected)) == 3
    assert kept == [count for count, rows in zip(expected, GROUPS, strict=True) for _ in rows]


@pytest.mark.parametrize("truncate", ["prefix", "random", "none"])
@pytest.mark.parametrize(
    "parts",
    [(range(15), range(15, 30)), [range(i, i + 10) for i in (0, 10, 20)], [range(29, 30)]],
    ids=["two processes", "three micro-batches", "the last clip"],
)
def test_groups_do_not_depend_on_how_the_batch_is_split(parts, truncate):
    masks = masking(replace(LARGE, truncate=truncate))
    whole = drawn(masks, batch_of())
    for rows in parts:
        assert drawn(masks, batch_of(rows)) == [whole[row] for row in rows]


@pytest.mark.parametrize("blocks", [LARGE, MANY, replace(LARGE, truncate="prefix")])
def test_no_group_and_a_group_of_all_clips_are_the_whole_batch(blocks):
    batch = batch_of()
    whole = module.multi_block(batch.keys, batch.keys, GRID, blocks).tolist()
    for group in (0, B, 4 * B):
        assert drawn(masking(blocks, group=group), batch) == whole
        assert not masking(blocks, group=group).uneven


def test_rows_of_one_group_are_a_rectangle_and_others_are_packed_where_counts_differ():
    def packed(blocks, rows):
        return isinstance(
            masking(blocks).draw(batch_of(rows), encoder(), torch.empty(0))[0], Packed
        )

    assert [packed(LARGE, rows) for rows in (*GROUPS, range(10, 20))] == [False] * 3 + [True]
    bound = replace(LARGE, max_keep=0.01)  # which every group reaches
    assert not packed(bound, range(B))


def test_blocks_have_a_size_for_each_group():
    def sizes(blocks, rows):
        batch = batch_of(rows)
        found, groups = masking(blocks, group=3)._groups(batch, blocks)
        return [module._block_size(group.keys[:1], GRID, found, 0) for group in groups]

    assert len(set(sizes(LARGE, range(B)))) > 2
    assert sizes(LARGE, range(B))[3:5] == sizes(LARGE, range(9, 15))
    shared = replace(LARGE, shared_aspect=True)
    assert len(set(sizes(shared, range(B)) + sizes(shared, range(9, 15)))) == 1


def test_views_share_an_aspect_where_they_say_so():
    def aspects(shared, start, epoch=0):
        keys = make_keys(5, epoch, [start])
        views = (replace(MANY, shared_aspect=shared), replace(LARGE, shared_aspect=shared))
        fixed = [module.with_shared_aspect(blocks, keys) for blocks in views]
        return [module._aspect(keys, blocks, view) for view, blocks in enumerate(fixed)]

    shared = [aspects(True, start) for start in range(0, 80, 8)]
    assert all(first == second for first, second in shared)
    assert len({first for first, _ in shared}) == 10
    assert all(0.75 <= first <= 1.5 for first, _ in shared)
    assert all(first != second for first, second in (aspects(False, s) for s in range(0, 80, 8)))


@pytest.mark.parametrize("repeats", [2, 5])
def test_groups_count_clips_and_each_repeat_has_blocks_of_its_own(repeats):
    blocks = replace(LARGE, max_keep=1)
    visible = drawn(masking(blocks), batch_of(repeats=repeats))
    for rows in GROUPS:
        places = open_places(blocks, rows, repeats=repeats)
        for row, clip in zip(rows, places, strict=True):
            assert len(visible[row]) == GRID[0] * int(places.sum(1).min())
            assert {token % 256 for token in visible[row]} <= set(clip.nonzero()[:, 0].tolist())
    parts = [drawn(masking(blocks), batch_of(rows, repeats=repeats)) for rows in GROUPS]
    assert list(chain(*parts)) == visible


@pytest.mark.parametrize("stage", ["stage1-tiny", "stage2-tiny"])
def test_fewer_clips_than_none_are_refused(stage):
    with pytest.raises(ValueError, match=r"mask_group is -1, expected 0 .* or more"):
        small_config(stage, "stage.mask_group=-1")


VIEWS = (
    "stage.views.0.count=3", "stage.views.0.max_keep=1",
    "stage.views.1.count=1", "stage.views.1.scale=0.5", "stage.views.1.max_keep=1",
)  # fmt: skip
STAGES = {
    "latents": ("stage2-tiny", *VIEWS),
    "latents and more": (
        *("stage2-tiny", *VIEWS, "stage.layers_weight=1", "stage.pixels_weight=1"),
        *("stage.pixel_decoder.kind=pixel", *teacher("stage.teacher")),
    ),
    "pixels and more": (
        *("stage1-tiny", "stage.mask=multi_block", "stage.align_pooled=true"),
        *("stage.blocks.count=3", "stage.blocks.max_keep=1"),
    ),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Thirty names of one video of a few frames."""
    path = write_video(tmp_path_factory.mktemp("groups") / "clip.mkv", noise(6))
    return list_clips(path) * B


def stage_of(name):
    preset, *changes = STAGES[name]
    sizes = (f"optim.batch_size={B}", f"stage.mask_group={SIZE}", "stage.frames=2")
    sizes += ("model.encoder.depth=1", "model.predictor.layers=1")
    stage = small_stage(small_config(preset, *changes, *sizes)).double()
    for part in stage.modules():
        if hasattr(part, "compute_dtype"):
            part.compute_dtype = torch.float64
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in stage.parameters():  # a start of zeros would hide a lost gradient
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=draw))
    return stage


def gradients(stage):
    return {name: p.grad.clone() for name, p in stage.named_parameters() if p.grad is not None}


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        atol = 1e-9 * float(expected.abs().max()) + 1e-16
        torch.testing.assert_close(ours[name], expected, rtol=0, atol=atol, msg=name)


@pytest.mark.parametrize("name", STAGES)
def test_the_loss_is_the_same_on_one_process_or_two_whole_or_in_micro_batches(name, sources):
    pytest.importorskip("av")
    stage = stage_of(name)
    ranks = {}
    for world_size in (1, 2):
        for rank in range(world_size):
            with ClipLoader(
                *(sources, stage.clip_specs, DataConfig(seed=3)), batch_size=B, workers=0,
                rank=rank, world_size=world_size,
            ) as loader:  # fmt: skip
                ranks.setdefault(world_size, []).append(next(loader))
    (whole,) = ranks[1]
    kept = {
        view: stage.masking.lengths(whole, 14, view=view) for view in range(stage.masking.views)
    }
    assert any(len(set(lengths)) > 1 for lengths in kept.values()), "no groups differ"

    def loss(batches, cuts):
        """Its gradients, and its value: that of terms added up over processes and micro-batches."""
        stage.zero_grad()
        terms = added(stage.loss(one.part(*cut)) for one in batches for cut in pairwise(cuts))
        counts = [stage.counts(batch) for batch in batches]
        for key, term in terms.items():
            assert int(term.count) == sum(count[key] for count in counts), key
        means = {key: term.total / term.count for key, term in terms.items()}
        value = torch.stack([stage.loss_weights[key] * mean for key, mean in means.items()]).sum()
        value.backward()
        return gradients(stage) | {"value": value.detach()}

    # Group by group all is a rectangle.
    expected = loss(ranks[1], (0, 14, 28, 30))
    for world_size, cuts in ((1, (0, 30)), (1, (0, 10, 20, 30)), (2, (0, 15)), (2, (0, 5, 10, 15))):
        assert_same(loss(ranks[world_size], cuts), expected)
    stage.zero_grad()
    found = compute_gradients(stage, whole, 3)
    assert_same(gradients(stage) | {"value": found.value}, expected)


@pytest.mark.parametrize("name", STAGES)
def test_counts_of_groups_are_known_before_the_first_micro_batch(name):
    stage = stage_of(name)
    taken = []
    original = stage.loss
    stage.loss = lambda part: taken.append(len(part)) or original(part)
    compute_gradients(stage, random_batch(stage, B), 3)
    assert taken == [10, 10, 10]  # none taken again

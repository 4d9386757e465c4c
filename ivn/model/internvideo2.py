"""Maps the keys of InternVideo2's released encoders to ours.

The blocks and the pooling head are this package's own; the patches have no norms, there is one cls
token, and files hold training heads beside the encoder.
"""

from collections.abc import Mapping
from typing import Any

from .sizes import both_sides
from .state_dict import State, with_our_keys

# Widths of S14, B14, L14, 1B and 6B, and their attention heads.
HEADS = {384: 6, 768: 12, 1024: 16, 1408: 16, 3200: 25}
POOL_HEADS = 16
SIZE = 224

# The prefix of the video encoder in a model of several modalities.
_VISION = "vision_encoder."
# Heads of its training stages, of fine-tuning, and tables of other decoders.
_HEADS = (
    *("clip_decoder.", "final_clip_decoder.", "mae_decoder.", "clip_pos_embed", "mae_pos_embed"),
    *("clip_img_pos_embed", "vision_align."),
    *("fc_norm.", "head.", "extra_mlp.", "down.", "down_norm."),
)


def encoder_state(state: State, where: str) -> State:
    """Returns the encoder's tensors under our keys; empty if the file is not InternVideo2's.

    Takes the result of :func:`ivn.model.state_dict.read_state`, with any prefix and spelling of
    layer scales. Heads are dropped, and a convolution over images (an InternVL tower's) becomes one
    over frames.
    """
    found = with_our_keys(state, where)
    if any(key.startswith(_VISION) for key in found):
        video = {
            key.removeprefix(_VISION): value
            for key, value in found.items()
            if key.startswith(_VISION)
        }
        found = with_our_keys(video, where)
    token, patches = found.get("cls_token"), found.get("patch_embed.proj.weight")
    if token is None or patches is None or token.ndim != 3 or token.shape[1] != 1:
        return {}
    if patches.ndim == 4:
        found["patch_embed.proj.weight"] = patches[:, :, None]
    return {key: value for key, value in found.items() if not key.startswith(_HEADS)}


def inferred_sizes(state: State, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the sizes of a released encoder that its weights lack; ``given`` ones override.

    The frames of the position table follow from its length and the side of its images, 224.
    """
    sizes: dict[str, Any] = {"image_size": SIZE, "pool_heads": POOL_HEADS}
    width, patch = state["cls_token"].shape[2], state["patch_embed.proj.weight"].shape[-1]
    if width in HEADS:
        sizes["num_heads"] = HEADS[width]
    height, columns = both_sides(given.get("image_size", SIZE))
    places = (height // patch) * (columns // patch)
    rows = state["pos_embed"].shape[1] - 1 if "pos_embed" in state else 0
    if places and rows > 0 and rows % places == 0:
        sizes["num_frames"] = rows // places
    return sizes | dict(given)

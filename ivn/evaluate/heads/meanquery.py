"""The attentive probe of the InternVideo family: its query is the mean of all tokens.

Legend: H heads, b samples, N tokens, C width, K classes, A attention heads, d = C / A, P width of
the pooled vector.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .heads import STD, Grid, InitialValue, Parameters, TokenHead, stacked_linear, stacked_norm

POOLED = 768
_SCALE = 1e-3  # factor on the classifier's usual initial weights


class MeanQueryHead(TokenHead):
    """One cross-attention whose query is the mean of the tokens, then LayerNorm and one matrix.

    The head of InternVideo2's and InternVideo-Next's attentive probing (``clip_projector``, then
    ``fc_norm`` and ``head``): query, keys and values have a LayerNorm, a matrix and a bias each;
    the output goes to 768 features; there is no residual and no MLP. As in
    :class:`~ivn.evaluate.heads.heads.AttentiveHead` the key matrix is applied to the query, and the
    value matrix to the weighted mean. The biases of the keys (of their LayerNorm, too) would add
    the same to every token's score and change nothing: they are left out.

    Attributes:
        pooled: width of the pooled vector, P.
    """

    # Rates from the paper's (2e-4 to 1e-3) to eight times the largest (the scale of its batch), and
    # the weight decay of InternVideo2's probing scripts.
    grid = Grid((8e-3, 3e-3, 1e-3, 3e-4, 1e-4), (0.0,))

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.pooled = POOLED

    def starts(self) -> dict[str, InitialValue]:
        C, K, P = self.shape[-1], self.classes, self.pooled
        # PyTorch's first weights of a linear layer are uniform within P**-0.5.
        small = _SCALE * (3 * P) ** -0.5
        return {
            "query.norm.weight": InitialValue((C,), value=1.0),
            "query.norm.bias": InitialValue((C,)),
            "query.weight": InitialValue((C, C), STD),
            "query.bias": InitialValue((C,)),
            "key.norm.weight": InitialValue((C,), value=1.0),
            "key.weight": InitialValue((C, C), STD),
            "value.norm.weight": InitialValue((C,), value=1.0),
            "value.norm.bias": InitialValue((C,)),
            "value.weight": InitialValue((C, C), STD),
            "value.bias": InitialValue((C,)),
            "out.weight": InitialValue((P, C), STD),
            "out.bias": InitialValue((P,)),
            "norm.weight": InitialValue((P,), value=1.0),
            "norm.bias": InitialValue((P,)),
            "weight": InitialValue((K, P), small),
            "bias": InitialValue((K,), small),
        }

    def logits(self, parameters: Parameters, x: Tensor) -> Tensor:
        return stacked_linear(
            stacked_norm(self.pool(parameters, x), parameters, "norm"), parameters, ""
        )

    def pool(self, parameters: Parameters, x: Tensor) -> Tensor:
        """Returns the pooled vector of every sample by every head, ``[H, b, P]``."""
        p, A, H = parameters, self.heads, len(parameters["bias"])
        mean = x.mean(1).expand(H, -1, -1)
        query = stacked_linear(stacked_norm(mean, p, "query.norm"), p, "query").unflatten(
            2, (A, -1)
        )
        x = F.layer_norm(x, x.shape[-1:])
        key = (p["key.weight"] * p["key.norm.weight"][:, None]).unflatten(1, (A, -1))
        projected = torch.einsum("hbad,hadc->bhac", query, key) * query.shape[3] ** -0.5
        attention = (projected.flatten(1, 2) @ x.mT).softmax(2)  # [b, H * A, N]
        mean = (attention @ x).unflatten(1, (H, A)).transpose(0, 1)  # [H, b, A, C]
        mean = mean * p["value.norm.weight"][:, None, None] + p["value.norm.bias"][:, None, None]
        value = p["value.weight"].unflatten(1, (A, -1))
        pooled = torch.einsum("hbac,hadc->hbad", mean, value).flatten(2)
        return stacked_linear(pooled + p["value.bias"][:, None], p, "out")

    def floats(self) -> int:
        return 4 * self.heads * (self.shape[0] + self.shape[1]) + 4 * self.pooled

import pytest
import torch


@pytest.fixture(scope="module")
def text_encoder(tmp_path_factory):
    """A ModernBERT of 28 layers with random weights, and the folder that it lies in."""
    transformers = pytest.importorskip("transformers")
    config = transformers.ModernBertConfig(
        vocab_size=64,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=28,
        num_attention_heads=3,
        pad_token_id=0,
        eos_token_id=2,
        bos_token_id=1,
        cls_token_id=1,
        sep_token_id=2,
    )
    torch.manual_seed(0)
    model = transformers.ModernBertModel(config)
    folder = tmp_path_factory.mktemp("modernbert")
    model.save_pretrained(folder)
    return model, folder


@pytest.fixture(scope="session")
def rows():
    """Rows by their settings, each made once."""
    from .variants import Row  # which skips without transformers

    made: dict[tuple[str, ...], Row] = {}

    def row(*settings: str) -> Row:
        if settings not in made:
            made[settings] = Row(*settings)
            assert made[settings].trained == made[settings].handed, "not what is optimised"
        return made[settings]

    return row

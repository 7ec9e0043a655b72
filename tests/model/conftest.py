"""Small networks for the tests of the model."""

import pytest
import torch

from helpers.model_records import NUM_CODES
from sojourn.model import CodeTable, ModelConfig, Network


@pytest.fixture
def codes() -> CodeTable:
    can_emit = torch.ones(NUM_CODES, dtype=torch.bool)
    can_emit[[9, 10, 11]] = False
    return CodeTable(
        loc=torch.full((NUM_CODES,), 55.0),
        scale=torch.full((NUM_CODES,), 10.0),
        tick=torch.ones(NUM_CODES),
        can_emit=can_emit,
        value_share=torch.where(torch.arange(NUM_CODES) < 7, 0.99, 0.01),
        log_hazard=torch.full((NUM_CODES, 19), -3.0),
    )


@pytest.fixture
def network(codes: CodeTable) -> Network:
    torch.manual_seed(0)
    config = ModelConfig(d_model=32, d_event=16, d_decoder=32, num_layers=2, num_heads=4, dropout=0.0)
    made = Network(config, codes, num_sites=2)
    with torch.no_grad():  # away from the symmetric start, where many mistakes would not show
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval()

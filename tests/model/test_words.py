"""A network that reads the words of codes."""

from dataclasses import replace

import pytest
import torch

from helpers.model_records import NUM_CODES, make_batch, random_record
from sojourn.errors import ConfigError
from sojourn.model import CodeTable, ModelConfig, Network
from sojourn.model.embedding import EventEmbedding

SMALL = ModelConfig(d_model=32, d_event=16, d_decoder=32, num_layers=2, num_heads=4, dropout=0.0, num_word_features=8)


@pytest.fixture
def worded(codes: CodeTable) -> CodeTable:
    generator = torch.Generator().manual_seed(3)
    return codes._replace(words=torch.randn(NUM_CODES, 8, generator=generator))


@pytest.fixture
def reader(worded: CodeTable) -> Network:
    torch.manual_seed(0)
    made = Network(SMALL, worded, num_sites=2)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval()


def test_an_embedding_is_the_identity_and_what_the_words_say(reader: Network) -> None:
    events, words = reader.events, reader.events.words
    assert events.say is not None
    said = words @ events.say.weight.T + events.say.bias
    torch.testing.assert_close(events.codes(), events.code.weight + said[:, :16])
    chosen = torch.tensor([4, 4, 1])
    torch.testing.assert_close(events.some_codes(chosen), events.codes()[chosen])
    torch.testing.assert_close(events.seen(chosen), events.codes()[chosen])  # nothing is dropped when asked


def test_a_code_starts_as_its_words_alone(worded: CodeTable) -> None:
    events = EventEmbedding(worded, 16, 0.5)
    assert (events.code.weight == 0).all()
    assert (events.gate.weight == 0).all()
    twins = worded._replace(words=torch.ones(NUM_CODES, 8))
    assert EventEmbedding(twins, 16).codes().unique(dim=0).shape[0] == 1


def test_codes_without_identity_and_with_the_same_words_are_the_same(reader: Network) -> None:
    with torch.no_grad():
        for identity in (reader.events.code.weight, reader.events.gate.weight):
            identity[[2, 3]] = 0.0
        reader.events.words[3] = reader.events.words[2]
        value, nothing = torch.full((1,), 57.0), torch.full((1,), torch.nan)
        two, three = (reader.events(torch.tensor([code]), value, nothing, nothing) for code in (2, 3))
    assert torch.equal(two, three)
    assert not torch.equal(two, reader.events(torch.tensor([4]), value, nothing, nothing))


def test_training_drops_identities_at_the_rate_that_was_asked_for(worded: CodeTable) -> None:
    many = CodeTable(*(None if field is None else field[:1].expand(4000, *field.shape[1:]) for field in worded))
    events = EventEmbedding(many, 16, 0.2)
    with torch.no_grad():
        events.code.weight.fill_(100.0)
        torch.manual_seed(0)
        every = torch.arange(4000)
        seen = events.seen(every)[:, 0]
        assert (seen < 50).float().mean() == pytest.approx(0.2, abs=0.03)
        kept = seen[seen > 50]
        assert (kept == kept[0]).all()  # a code that keeps its identity keeps its words whole
        assert (events.codes()[:, 0] > 50).all()  # what is chosen or asked for is always known
        assert (events.some_codes(every)[:, 0] > 50).all()
        assert (events.eval().seen(every)[:, 0] > 50).all()


def test_answers_repeat_and_everything_is_learnt(reader: Network) -> None:
    batch = make_batch([[random_record(1)], [random_record(2)]])
    with torch.no_grad():
        assert torch.equal(reader.log_prob(batch).code, reader.log_prob(batch).code)
    reader.train()
    (-reader.log_prob(batch).total()).backward()
    for parameter in (reader.events.say.weight, reader.events.say.bias, reader.events.code.weight):  # type: ignore[union-attr]
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0
    assert "events.words" in reader.state_dict()


def test_without_words_nothing_is_added(network: Network) -> None:
    assert network.events.say is None
    assert not any("say" in name or "words" in name for name in network.state_dict())
    assert network.events.codes() is network.events.code.weight


def test_wrong_settings_are_refused() -> None:
    for wrong in ({"num_word_features": -1}, {"identity_dropout": 1.0}):
        with pytest.raises(ConfigError, match="num_word_features must"):
            replace(SMALL, **wrong)

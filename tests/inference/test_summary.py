"""A run whose questions see the past code by code, from training to risks, controls and fine-tuning."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from helpers.toy_process import SETTINGS, write_toy_labels
from inference.conftest import Toy
from sojourn.adaptation.finetune import finetune
from sojourn.inference.controls import shuffle_values
from sojourn.inference.histories import Moments
from sojourn.inference.risk import Question, Risk, query_risk
from sojourn.training.config import PretrainConfig
from sojourn.training.pretrain import pretrain
from sojourn.training.run import Run


@pytest.fixture(scope="module")
def run(toy_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = SETTINGS | {"max_steps": 60}
    path = tmp_path_factory.mktemp("summary") / "run"
    pretrain(toy_store, path, config=PretrainConfig.model_validate(settings))
    return path


def asked(toy: Toy, run: Path, at: Moments, **options: object) -> Risk:
    trained = Run(run)
    question = Question([trained.vocabulary.index["OUTCOME//death"]], 12)
    reader = trained.reader(toy.store)
    return query_risk(trained.network(), reader, at, question, context=32, **options)  # type: ignore[arg-type]


def test_the_sick_are_told_from_the_well_by_their_values(toy: Toy, run: Path) -> None:
    assert roc_auc_score(toy.is_sick, asked(toy, run, toy.at_four).probability) > 0.9
    shuffled = asked(toy, run, toy.at_four, change=lambda given: shuffle_values(given, seed=0)).probability
    assert abs(roc_auc_score(toy.is_sick, shuffled) - 0.5) < 0.2


def test_a_risk_does_not_depend_on_who_else_is_asked_nor_on_later_moments(toy: Toy, run: Path) -> None:
    together = asked(toy, run, toy.at_four).probability
    for i in (0, 7, 19):
        row, seconds = toy.at_four.row[[i]], toy.at_four.seconds[[i]]
        alone = asked(toy, run, Moments(row, seconds)).probability
        beside = asked(toy, run, Moments(np.repeat(row, 2), np.append(seconds, seconds + 86400))).probability
        np.testing.assert_allclose([alone[0], beside[0]], together[i], rtol=5e-3)


@pytest.mark.parametrize("method", ["lora", "head"])
def test_it_is_fine_tuned_like_any_other(toy: Toy, toy_store: Path, run: Path, tmp_path: Path, method: str) -> None:
    labels = toy.labels().with_columns(boolean_value=toy.is_sick)
    path = write_toy_labels(tmp_path / "labels.parquet", labels)
    report = finetune(run, toy_store, path, tmp_path / "new", config={"method": method, "epochs": 1})
    assert report.num_trained_weights > 0
    assert np.isfinite(asked(toy, tmp_path / "new", toy.at_four).probability).all()


def test_a_network_without_a_summary_is_asked_all_the_same(toy: Toy, toy_store: Path, tmp_path: Path) -> None:
    without = {"max_steps": 4, "model": SETTINGS["model"] | {"use_summary": False}}
    pretrain(toy_store, tmp_path / "run", config=PretrainConfig.model_validate(SETTINGS | without))
    assert Run(tmp_path / "run").network().first_head.summary is None
    assert np.isfinite(asked(toy, tmp_path / "run", toy.at_four).probability).all()

"""How the sites' updates become the next shared weights: one module per idea, one line each here."""

from sojourn.federated import config
from sojourn.federated.messages import Tensors
from sojourn.federated.strategies.adaptive import Adaptive
from sojourn.federated.strategies.averaging import Averaging, Combining
from sojourn.federated.strategies.daisy import DaisyChain
from sojourn.federated.strategies.diloco import OuterNesterov
from sojourn.federated.strategies.moments import SharedMoments
from sojourn.federated.strategies.scaffold import ControlVariates

__all__ = ["make_strategy"]


def make_strategy(settings: config.FederatedConfig, weights: Tensors, sites: tuple[str, ...]) -> Combining:
    """The strategy that the settings name, starting from some shared weights."""
    strategy = _combining(settings.strategy, weights, sites, settings.pretrain.seed)
    return SharedMoments(strategy) if settings.are_moments_shared else strategy


def _combining(settings: config.Strategy, weights: Tensors, sites: tuple[str, ...], seed: int) -> Averaging:
    match settings:
        case config.FedAdam():  # and its subclass FedYogi
            return Adaptive(weights, settings)
        case config.DiLoCo():
            return OuterNesterov(weights, settings)
        case config.Scaffold():
            return ControlVariates(weights, settings, num_sites=len(sites))
        case config.Daisy():
            return DaisyChain(weights, settings, sites=sites, seed=seed)
        case _:
            return Averaging(weights, settings.rate)

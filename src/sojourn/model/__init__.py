"""The network: embedding, backbone and heads. Tensors in, tensors out; no files, no printing."""

from sojourn.model.batch import Batch
from sojourn.model.config import CodeTable, ModelConfig
from sojourn.model.network import EventLogProb, Network

__all__ = ["Batch", "CodeTable", "EventLogProb", "ModelConfig", "Network"]

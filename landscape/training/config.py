"""What a training run is asked for. Needs no JAX, so that the command line can show its help."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from landscape.errors import RequestError


@dataclass(frozen=True)
class TrainConfig:
    """A training run: model, data, loss, optimiser, SAM and bookkeeping.

    The defaults train a small ViT on scanned digits in seconds. The same configuration gives the
    same weights, bit for bit, on the same devices.
    """

    model: str | None = None
    """Name of the network; `models` lists them (default: that of start_from, or ViT-Mini/2)."""
    start_from: str | None = None
    """Checkpoint to fine-tune: other classes get a head of zeros, positions are resized."""
    new_head: bool = False
    """With start_from: a head of zeros even where the number of classes agrees."""
    data: str = "digits"
    """Data: digits, a folder of class folders, FILE.npz or module:function."""
    holdout: float | None = None
    """Part of every class held out as test split (default: the data's own test split)."""
    image_size: int | None = None
    """Resize the images of a folder to squares of this many pixels."""
    preprocessing: str | None = None
    """How pixels become inputs; see `formats` (default: start_from's, or minus_one_to_one)."""
    activation: str | None = None
    """Activation function of the network (default: the model's own)."""
    dropout: float | None = None
    """Dropout rate (default: the model's own)."""
    stochastic_depth: float | None = None
    """Stochastic depth: rate of the last block, growing linearly (default: the model's own)."""
    representation: int | None = None
    """Width of a tanh layer before the head; 0 drops start_from's (default: the model's own)."""
    dtype: Literal["bfloat16"] | None = None
    """Compute forward passes in it; weights and gradients stay float32 (default: float32)."""
    remat: bool = False
    """Compute what is inside a block again for the gradient: less memory, more time."""
    loss: Literal["softmax_cross_entropy", "sigmoid_cross_entropy"] = "softmax_cross_entropy"
    """Training loss, averaged over examples."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """adamw (betas 0.9 and 0.999) or sgd (momentum 0.9)."""
    learning_rate: float = 3e-3
    """Peak learning rate."""
    weight_decay: float = 0.1
    """Decoupled weight decay of kernels: each step subtracts learning rate * this * weight."""
    warmup_steps: int | None = None
    """Steps over which the learning rate rises linearly from 0 (default: a twentieth of all)."""
    decay: Literal["cosine", "linear"] = "cosine"
    """How the learning rate falls to 0 after the warm-up."""
    clip: float | None = 1.0
    """Largest global norm of the gradient, above 0; None does not clip."""
    epochs: float = 30.0
    """Passes over the training split; the number of steps is rounded."""
    batch_size: int = 128
    """Examples per step."""
    rho: float = 0.0
    """Radius of SAM's perturbation; 0 trains without SAM."""
    group: int | None = None
    """Examples that share one SAM perturbation, m (default: the whole batch)."""
    seed: int = 0
    """Seed of everything: hold-out, initial weights, order of the data, dropout."""
    evaluate_every: int | None = None
    """Steps between evaluations (default: at the end only)."""
    checkpoint_every: int = 200
    """Steps between checkpoints; one is always made at the end."""
    keep: int | None = 2
    """Number of newest checkpoints kept; None keeps all."""

    def __post_init__(self):
        """Refuse values that cannot be meant (raises RequestError)."""
        for name, low, high in (
            ("learning_rate", 0, float("inf")),
            ("weight_decay", 0, float("inf")),
            ("rho", 0, float("inf")),
            ("epochs", 0, float("inf")),
            ("warmup_steps", 0, float("inf")),
            ("clip", 0, float("inf")),
            ("seed", 0, 2**32),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value < high:
                raise RequestError(f"{name}: {value} is out of range; use {low} or more")
        if self.clip == 0:
            raise RequestError("clip: 0 keeps nothing of the gradient; use None not to clip")
        if self.new_head and self.start_from is None:
            raise RequestError("new_head: there is no start_from; a new network has a new head")
        for name in ("batch_size", "group", "evaluate_every", "checkpoint_every", "keep"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RequestError(f"{name}: {value} is out of range; use 1 or more")

    def steps(self, examples: int) -> int:
        """Number of training steps on a training split of that many examples, at least one."""
        return max(1, round(self.epochs * examples / self.batch_size))

    def warmup(self, steps: int) -> int:
        """Number of warm-up steps of a run of ``steps``."""
        return steps // 20 if self.warmup_steps is None else self.warmup_steps


def differences(asked: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """The entries that differ, told as ``name (FOUND, now ASKED)``."""
    return [
        f"{name} ({found[name]!r}, now {asked[name]!r})"
        for name in asked
        if name in found and asked[name] != found[name]
    ]


def as_dict(config: TrainConfig) -> dict[str, Any]:
    """The fields as plain JSON values."""
    return asdict(config)

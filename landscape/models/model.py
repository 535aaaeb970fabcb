"""A built model: parameters, logits and inner values behind one small interface."""

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from landscape.errors import RequestError
from landscape.models.flops import count_flops


class Intermediates(NamedTuple):
    """What one forward pass computed.

    Attributes
    ----------
    logits
        Shape (B, classes), those of the plain forward pass.
    activations, attention
        As `Model.activations` and `Model.attention` return them; attention is empty without any.
    pre_logits
        The features that the head sees, shape (B, D).
    """

    logits: jax.Array
    activations: OrderedDict[str, jax.Array]
    attention: OrderedDict[str, jax.Array]
    pre_logits: jax.Array


@dataclass(frozen=True, eq=False)
class Model:
    """A network of the registry at one image shape and number of classes.

    Compared and hashed by identity, so that it can be a static argument of ``jax.jit``;
    `landscape.models.registry.build` gives the identical object for equal requests.

    Attributes
    ----------
    name : the registry's name, "ViT-B/16".
    family : "vit", "mixer", "resnet" or "batchnorm_resnet".
    module : the flax linen module behind it.
    image_shape : (height, width, channels).
    classes : number of logits.
    source : the paper it comes from, in one line.
    patch, tokens : pixels on the side of what becomes a token, and tokens seen by the first block
        (a class token included); None for a ResNet.
    dtype : "bfloat16" to compute the forward pass in; None for the parameters' own.
    request : arguments of `landscape.models.registry.build` that make it, as plain JSON values.
    """

    name: str
    family: str
    module: nn.Module = field(repr=False)
    image_shape: tuple[int, int, int]
    classes: int
    source: str = field(repr=False)
    patch: int | None = None
    tokens: int | None = None
    dtype: str | None = None
    request: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def init(self, key):
        """Draw initial parameters: a plain nested dict of float32 arrays.

        The keys of the draws derive from `key` and each parameter's name, not from its place:
        two depths of one architecture share what they have in common.
        """
        if isinstance(key, jax.core.Tracer):
            return _init_params(self, key)
        return _compiled_init(jax.default_backend())(self, key)

    def abstract(self):
        """Return the parameter tree as ``jax.ShapeDtypeStruct``; allocates nothing."""
        return self._abstract["params"]

    def abstract_state(self):
        """Return the tree of running statistics in the same way; None where there are none."""
        return self._abstract.get("batch_stats")

    @cached_property
    def _abstract(self):
        return jax.eval_shape(partial(_init_variables, self), jax.random.key(0))

    @property
    def has_state(self):
        """Whether the network keeps running statistics (BatchNorm)."""
        return self.abstract_state() is not None

    def init_state(self):
        """Return the state of an untrained network: means of 0, variances of 1."""
        if not self.has_state:
            return None
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: jnp.full(leaf.shape, float(path[-1].key == "var"), leaf.dtype),
            self.abstract_state(),
        )

    def apply(self, params, images, *, key=None, state=None, corruption=None):
        """Map images (B, H, W, C), floating, to logits (B, classes) in the parameters' dtype.

        Without `key` the network is deterministic. With one it is in training mode: dropout and
        stochastic depth draw their masks from it, equal keys giving equal masks. `state` holds the
        running statistics of a network that keeps them; `corruption` is for the head that predicts
        masked patches (`landscape.models.masked_patches`), whose logits are (B, patches, classes).
        """
        if key is not None and self.has_state:
            raise RequestError(
                f"key: {self.name} has BatchNorm and cannot be trained yet; pass none"
            )
        if corruption is not None and getattr(self.module, "head", None) != "masked_patches":
            raise RequestError(
                f"corruption: {self.name} predicts no patches; build it with head='masked_patches'"
            )
        images, variables = self._check(params, images), self._variables(params, state)
        mode = {} if corruption is None else {"corruption": corruption}
        if key is not None:
            mode |= {"train": True, "rngs": {"dropout": key}}
        return self._in_dtype_of(params, self.module.apply(variables, images, **mode))

    def batch_state(self, params, images, mask=None):
        """Return the statistics of one batch in training mode, shaped like the state.

        Every layer is normalised by the batch's own mean and variance; what is returned are these
        means and the unbiased variances, n / (n - 1) times the others, as PyTorch keeps them. n
        counts examples and pixels. `mask` (B,) leaves padded examples out.
        """
        if not self.has_state:
            raise RequestError(f"model: {self.name} has no BatchNorm and keeps no statistics")
        images = self._check(params, images)
        variables = self._variables(params, self.init_state())
        _, kept = self.module.apply(
            variables, images, estimate=True, mask=mask, mutable=["batch_stats"]
        )
        return kept["batch_stats"]

    def _variables(self, params, state):
        if self.dtype is not None:
            params = _computed_in(params, self.dtype)
        if not self.has_state:
            return {"params": params}
        if state is None:
            raise RequestError(
                f"state: {self.name} has BatchNorm and needs its running statistics; pass the "
                "checkpoint's state"
            )
        return {"params": params, "batch_stats": state}

    def activations(self, params, images, *, state=None):
        """Values of the hidden neurons, in network order: {"encoderblock_0/MlpBlock_0": (B, ...)}.

        ViT and Mixer: after the activation function between the two dense layers of each MLP, shape
        (B, tokens, hidden); for a Mixer's "MixerBlock_0/token_mixing" (B, channels, hidden).
        ResNet: the output of each unit, "block1/unit1" ("layer1/0" with BatchNorm), shape
        (B, h, w, channels); a hybrid has both. An ordered dict, whose order also survives
        ``jax.jit``.
        """
        return self.intermediates(params, images, state=state).activations

    def block_outputs(self, params, images, *, state=None):
        """Output of every block, residual branch added: {"encoderblock_0": (B, tokens, width)}.

        In network order, ordered as by `activations`; of a ResNet the units, (B, h, w, channels).
        """
        images, variables = self._check(params, images), self._variables(params, state)
        _, kept = self.module.apply(
            variables, images, mutable=["intermediates"], capture_intermediates=_is_block
        )
        return OrderedDict(
            ("/".join(part for part in path if part != "Transformer"),
             self._in_dtype_of(params, value[0]))
            for (*path, kind), value in _leaves(kept["intermediates"]) if kind == "__call__"
        )  # fmt: skip

    def attention(self, params, images, *, state=None):
        """Attention weights of every block of a ViT: {"encoderblock_0": (B, heads, T, T)}.

        The last axis (the keys attended to) sums to one; token 0 is the class token, where there
        is one. Attention pooling comes last, "MAPHead_0": (B, heads, 1, T). Raises RequestError
        for the families without attention.
        """
        if self.family != "vit":
            raise RequestError(f"model {self.name!r} has no attention; ask for it with a ViT")
        return self.intermediates(params, images, state=state).attention

    def intermediates(self, params, images, *, state=None):
        """Logits and inner values of one forward pass, an `Intermediates`."""
        images, variables = self._check(params, images), self._variables(params, state)
        logits, kept = self.module.apply(variables, images, mutable=["intermediates"])
        sown = {"activation": OrderedDict(), "attention_weights": OrderedDict(), "head_input": {}}
        for (*path, kind), (value,) in _leaves(kept["intermediates"]):
            name = "/".join(part for part in path if part != "Transformer")
            sown[kind][name] = self._in_dtype_of(params, value)
        attention = OrderedDict(
            (name.removesuffix("/MultiHeadDotProductAttention_0"), weights)
            for name, weights in sown["attention_weights"].items()
        )
        logits = self._in_dtype_of(params, logits)
        return Intermediates(logits, sown["activation"], attention, sown["head_input"][""])

    def parameter_count(self):
        """Count the trainable numbers."""
        return self._by_depth(
            lambda model: sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(model.abstract()))
        )

    def flops(self):
        """Floating-point operations of one forward pass of one image.

        Counted on the traced program: two for every multiply-add of its matrix products and
        convolutions, padding included; element-wise work is left out, as the field does.
        """
        image = jax.ShapeDtypeStruct((1, *self.image_shape), jnp.float32)
        return self._by_depth(
            lambda model: count_flops(
                partial(model.apply, state=model.init_state()), model.abstract(), image
            )
        )

    def _by_depth(self, count):
        """Count something that grows by the same amount with each of a stack of equal blocks.

        Two shallow networks tell it of a deep one, which would take long to trace.
        """
        depth = getattr(self.module, "depth", 0)
        if depth <= 2:
            return count(self)
        one, two = (
            count(replace(self, module=self.module.clone(depth=blocks))) for blocks in (1, 2)
        )
        return one + (depth - 1) * (two - one)

    def _check(self, params, images):
        """Return images in the parameters' dtype; refuse what cannot be meant."""
        if images.ndim != 4 or images.shape[1:] != self.image_shape:
            raise RequestError(
                f"images: {self.name} takes shape (batch, {', '.join(map(str, self.image_shape))}),"
                f" found {tuple(images.shape)}; resize them or build the model with image_shape="
            )
        if not jnp.issubdtype(images.dtype, jnp.floating):
            raise RequestError(
                f"images: found dtype {images.dtype}; preprocess them to floating point first"
            )
        return images.astype(self.dtype or jax.tree.leaves(params)[0].dtype)

    @staticmethod
    def _in_dtype_of(params, value):
        return value.astype(jax.tree.leaves(params)[0].dtype)


def _is_block(module, method):
    """Whether a call is that of a block, as flax asks it."""
    return method == "__call__" and getattr(module, "is_block", False)


def _computed_in(params, dtype):
    """Parameters in the dtype that is computed in, but for layers that take float32 themselves.

    These are the norms, and the convolutions that standardise their kernels, told by the "gn1"
    beside a "conv1".
    """
    if not isinstance(params, Mapping):
        return params.astype(dtype)

    def kept(name, value):
        norm = isinstance(value, Mapping) and "scale" in value
        return norm or (name.startswith("conv") and name.replace("conv", "gn", 1) in params)

    return {
        name: value if kept(name, value) else _computed_in(value, dtype)
        for name, value in params.items()
    }


def _init_variables(model, key):
    images = jnp.zeros((1, *model.image_shape), jnp.float32)
    return model.module.init(key, images)


def _init_params(model, key):
    return _init_variables(model, key)["params"]


@cache
def _compiled_init(backend):
    """Compiled, the forward pass that flax's init traces is dropped as dead code.

    It runs once: on a CPU, fewer optimisations take a third of the time, to the same bits.
    """
    options = {"xla_backend_optimization_level": 1} if backend == "cpu" else None
    return jax.jit(_init_params, static_argnums=0, compiler_options=options)


def _leaves(tree, path=()):
    """Yield (path, leaf) of a nested dict in its own order (jax.tree would sort the names)."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), value

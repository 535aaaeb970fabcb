"""Parameter trees: names, selection, blocks, dot products, norms and random trees.

A parameter tree is any pytree of floating arrays (linen, NNX, Equinox, Haiku, plain dicts and
lists). A leaf is addressed by its name, the path through the tree joined by ``/``:
``Transformer/encoderblock_0/MlpBlock_0/Dense_0/kernel``, ``layers/0/weight``, ``0``.
"""

import functools
import hashlib
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from landscape.errors import NotFinite, RequestError

Tree = Any


def leaf_names(tree: Tree) -> list[str]:
    """The name of every leaf, in the order of ``jax.tree.leaves``.

    The ``/value`` that NNX variables add to their path is left out; a tree that is one array is
    called ``params``.
    """
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
    names = [jax.tree_util.keystr(path, simple=True, separator="/") or "params" for path in paths]
    shortened = [name.removesuffix("/value") for name in names]
    return shortened if len(set(shortened)) == len(shortened) else names


def named_leaves(tree: Tree) -> dict[str, Any]:
    """``{name: leaf}`` in the order of ``jax.tree.leaves``."""
    return dict(zip(leaf_names(tree), jax.tree.leaves(tree), strict=True))


def with_leaves(tree: Tree, leaves: Mapping[str, Any]) -> Tree:
    """The tree with the leaves named in ``leaves`` replaced."""
    merged = {**named_leaves(tree), **leaves}
    return jax.tree.unflatten(jax.tree.structure(tree), list(merged.values()))


def size(tree: Tree) -> int:
    """Number of scalars in the tree."""
    return sum(int(np.prod(np.shape(leaf))) for leaf in jax.tree.leaves(tree))


def shapes(tree: Tree) -> dict[str, tuple[int, ...]]:
    """Shape by name; leaves are anything with a shape."""
    return {name: tuple(leaf.shape) for name, leaf in named_leaves(tree).items()}


def check_floating(tree: Tree) -> None:
    """Refuse a tree that is empty or has leaves that are not floating arrays.

    Raises
    ------
    RequestError
        Naming the first offending leaf.

    Warns
    -----
    UserWarning
        If leaves are float64 and this session computes in float32.
    """
    leaves = named_leaves(tree)
    if not leaves:
        raise RequestError("params: the tree has no leaves; pass the tree of floating arrays")
    for name, leaf in leaves.items():
        dtype = getattr(leaf, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
            raise RequestError(
                f"params: leaf {name!r} is {dtype or type(leaf).__name__}, not a floating array; "
                "pass trainable parameters only and close over the rest in the loss"
            )
    if rounded := [name for name, leaf in leaves.items() if _canonical(leaf.dtype) != leaf.dtype]:
        warnings.warn(
            f"params: leaf {rounded[0]!r} is {leaves[rounded[0]].dtype}, which this session rounds "
            "to float32; set JAX_ENABLE_X64=1 to compute in float64, or pass float32",
            stacklevel=3,
        )


def check_finite(tree: Tree, what: str = "params") -> None:
    """Refuse a tree with NaN or infinite values, naming where they are.

    Raises
    ------
    NotFinite
        With the first affected leaf, the number of values there and of affected leaves.
    """
    counts = {k: int(np.sum(~np.isfinite(_host(v)))) for k, v in named_leaves(tree).items()}
    bad = {name: count for name, count in counts.items() if count}
    if bad:
        first = next(iter(bad))
        raise NotFinite(
            f"{what}: {bad[first]} non-finite values in {first!r} ({len(bad)} of {len(counts)} "
            "arrays affected); use a checkpoint from before the divergence"
        )


def content_hash(tree: Tree) -> str:
    """Hex digest (16 characters) of names, shapes, dtypes and values."""
    digest = hashlib.blake2b(digest_size=8)
    for name, leaf in named_leaves(tree).items():
        array = np.ascontiguousarray(_raw(leaf))
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _raw(leaf) -> np.ndarray:
    return np.asarray(jax.device_get(leaf))


def _host(leaf) -> np.ndarray:
    """A leaf on the host in float64 (bfloat16 included)."""
    return _raw(leaf).astype(np.float64)


# --- arithmetic on trees --------------------------------------------------------------------------


def wide(dtype: Any) -> np.dtype:
    """The precision of dots, norms, and accumulated products.

    At least float32; float64 only where this session computes in it (``jax_enable_x64``).
    """
    dtype = _canonical(dtype)
    return dtype if dtype.itemsize >= 4 else np.dtype(np.float32)


def _canonical(dtype: Any) -> np.dtype:
    """What arrays of this type become in this session."""
    return np.dtype(jax.dtypes.canonicalize_dtype(dtype))


def dot(a: Tree, b: Tree) -> jax.Array:
    """Inner product of two trees of equal structure, accumulated in float32 or better."""
    products = [
        jnp.vdot(x.astype(wide(x.dtype)), y.astype(wide(y.dtype)), precision="highest")
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    ]
    return total(products)


def total(parts: Sequence[jax.Array]) -> jax.Array:
    """Sum of the leaves' parts in the widest of their dtypes."""
    dtype = max((part.dtype for part in parts), key=lambda dtype: dtype.itemsize)
    return sum((part.astype(dtype) for part in parts[1:]), parts[0].astype(dtype))


def balanced(tree: Tree) -> tuple[Tree, jax.Array]:
    """The tree over a power of two that brings its largest entry to one, and that power's exponent.

    The division is exact. Squares of the result neither overflow nor vanish, whatever the scale of
    the tree; float32 or better. A tree that is zero or not finite stays as it is, with exponent 0.
    """
    leaves = [jnp.asarray(leaf, wide(leaf.dtype)) for leaf in jax.tree.leaves(tree)]
    dtype = max((leaf.dtype for leaf in leaves), key=lambda dtype: dtype.itemsize)
    peaks = [jnp.max(jnp.abs(leaf), initial=0).astype(dtype) for leaf in leaves]
    peak = functools.reduce(jnp.maximum, peaks)
    usable = jnp.isfinite(peak) & (peak > 0)
    exponent = jnp.where(usable, jnp.frexp(peak)[1], 0)
    # In two steps: 2^-e itself may not be a number of the dtype.
    half = exponent // 2
    first, second = (jnp.ldexp(jnp.ones((), dtype), -part) for part in (half, exponent - half))
    found = [leaf * first.astype(leaf.dtype) * second.astype(leaf.dtype) for leaf in leaves]
    return jax.tree.unflatten(jax.tree.structure(tree), found), exponent


def norm(tree: Tree) -> jax.Array:
    """Euclidean norm of the whole tree, also where the squares of its entries are no numbers."""
    inside, exponent = balanced(tree)
    return jnp.ldexp(jnp.sqrt(dot(inside, inside)), exponent)


def unit(tree: Tree) -> Tree:
    """The tree scaled to norm one, float32 or better; zero stays zero."""
    inside, _ = balanced(tree)
    length = jnp.sqrt(dot(inside, inside))
    return scaled(inside, 1 / jnp.where(length > 0, length, jnp.ones_like(length)))


def add_scaled(a: Tree, scale: jax.Array | float, b: Tree) -> Tree:
    """``a + scale * b`` leaf by leaf, in the dtype of ``a``."""

    def add(x, y):
        x = jnp.asarray(x)
        return x + jnp.asarray(scale, x.dtype) * y.astype(x.dtype)

    return jax.tree.map(add, a, b)


def scaled(tree: Tree, scale: jax.Array | float) -> Tree:
    """``scale * tree`` leaf by leaf, in the dtype of each leaf."""

    def multiply(x):
        x = jnp.asarray(x)
        return x * jnp.asarray(scale, x.dtype)

    return jax.tree.map(multiply, tree)


def gaussian(key: jax.Array, like: Tree, *, unit: bool = False) -> Tree:
    """A tree of independent standard normal values, shaped like ``like``, float32 or better.

    Every leaf draws from ``fold_in(key, position)``, on the host: the values depend neither on the
    sharding nor on the number of devices, and nothing is compiled. ``like`` decides where the
    leaves are placed.

    Parameters
    ----------
    key
        A JAX key.
    like
        The tree to imitate.
    unit
        Scale the whole tree to norm one: uniform on the sphere.
    """
    draws = _drawn(key, like, lambda generator, shape: generator.standard_normal(shape))
    if unit:
        length = np.sqrt(sum(float(np.vdot(draw, draw)) for draw in draws))
        for draw in draws:
            draw /= length
    return placed_like(draws, like)


def signs(key: jax.Array, like: Tree) -> Tree:
    """A tree of independent random signs (Rademacher), drawn and placed as by :func:`gaussian`."""
    return placed_like(_drawn(key, like, _random_signs), like)


def moved_by_epsilon(key: jax.Array, tree: Tree, sign: int = 1) -> Tree:
    """The tree with every entry a machine epsilon of its dtype further up or down at random.

    Of the entry, or of the root mean square of its leaf where that is larger, so that zeros move.
    ``sign`` -1 moves every entry the other way.
    """
    draws, moved = _drawn(key, tree, _random_signs), []
    for leaf, draw in zip(jax.tree.leaves(tree), draws, strict=True):
        values, step = _host(leaf), sign * float(jnp.finfo(leaf.dtype).eps) * draw
        size = np.maximum(np.abs(values), np.sqrt(np.mean(values**2)))
        moved.append((values + size * step).astype(leaf.dtype))
    return placed_like(moved, tree)


def _random_signs(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return 2.0 * generator.integers(0, 2, shape) - 1


def _drawn(key: jax.Array, like: Tree, draw: Callable) -> list[np.ndarray]:
    found = []
    for position, leaf in enumerate(jax.tree.leaves(like)):
        words = np.asarray(jax.random.key_data(jax.random.fold_in(key, position)))
        drawn = draw(np.random.default_rng(words), np.shape(leaf))
        found.append(np.asarray(drawn, wide(leaf.dtype)))
    return found


def raveled(tree: Tree) -> np.ndarray:
    """All leaves one after the other as one vector (n,) on the host."""
    return np.concatenate([np.ravel(_raw(leaf)) for leaf in jax.tree.leaves(tree)])


def unraveled(vector: np.ndarray, like: Tree) -> Tree:
    """A vector (n,) as a tree shaped and placed like ``like``, float32 or better."""
    leaves = jax.tree.leaves(like)
    parts = np.split(np.ravel(vector), np.cumsum([np.size(leaf) for leaf in leaves])[:-1])
    shaped = [
        part.reshape(np.shape(leaf)).astype(wide(leaf.dtype))
        for part, leaf in zip(parts, leaves, strict=True)
    ]
    return placed_like(shaped, like)


def placed_like(arrays: Sequence[np.ndarray], like: Tree) -> Tree:
    """Host arrays, one per leaf, as a tree placed like ``like``."""
    leaves, structure = jax.tree.flatten(like)
    placed = [_placed(np.asarray(a), leaf) for a, leaf in zip(arrays, leaves, strict=True)]
    return jax.tree.unflatten(structure, placed)


def _placed(values: np.ndarray, like: Any) -> jax.Array:
    if not isinstance(like, jax.Array) or isinstance(like.sharding, SingleDeviceSharding):
        return jnp.asarray(values)
    return jax.make_array_from_callback(values.shape, like.sharding, lambda index: values[index])


# --- blocks ---------------------------------------------------------------------------------------

# Names as the published ViT, MLP-Mixer, BiT and ResNet checkpoints have them; every component takes
# the normalisation layer in front of it. The first pattern that matches decides.
_COMPONENTS = (
    (r"^cls$", "class_token"),
    (r"^(pos_embedding|Transformer/posembed_input)(/|$)", "positions"),
    (r"^(stem|conv_root|gn_root)/", "stem"),  # but for the layer that _embedding tells
    (r"^Transformer/(encoderblock_\d+)/(LayerNorm_0|MultiHeadDotProductAttention_\d+)/",
     r"\1/attention"),
    (r"^Transformer/(encoderblock_\d+)/(LayerNorm_\d+|MlpBlock_\d+)/", r"\1/mlp"),
    (r"^(MixerBlock_\d+)/(LayerNorm_0|token_mixing)/", r"\1/token_mlp"),
    (r"^(MixerBlock_\d+)/(LayerNorm_1|channel_mixing)/", r"\1/channel_mlp"),
    (r"^(block\d+/unit\d+|layer\d+/\d+)/", r"\1"),
    (r"^(Transformer/encoder_norm|pre_head_layer_norm|pre_logits|head)(/|$)", "head"),
)  # fmt: skip
_TORCHVISION = ((r"^conv1/", "embedding"), (r"^bn1/", "stem"), (r"^(fc|linear)/", "head"))

_IN_FRONT = ("embedding", "class_token", "positions", "stem")  # of the first block
_HALVES = ("attention", "token_mlp", "mlp", "channel_mlp")  # of a block, in network order
_UNIT = re.compile(r"block\d+/unit\d+|layer\d+/\d+")  # a residual unit is a block and a component


def _component_labels(names: Sequence[str]) -> list[str]:
    first, patterns = _embedding(names), _COMPONENTS
    if any(name.startswith("layer1/0/") for name in names):
        patterns += _TORCHVISION

    def label(name: str) -> str:
        for pattern, found in patterns if name not in first else ():
            match = re.match(pattern, name)
            if match:
                return match.expand(found)
        return name.rpartition("/")[0] or name  # other people's models: one block per layer

    return ["embedding" if name in first else label(name) for name in names]


def _embedding(names: Sequence[str]) -> tuple[str, ...]:
    """Kernel and bias of what makes tokens (ViT, hybrid, Mixer), else of the root convolution."""
    for layer in ("embedding", "stem", "conv_root"):
        found = tuple(name for name in (f"{layer}/kernel", f"{layer}/bias") if name in names)
        if found:
            return found
    return ()


def expression(pattern: str, argument: str) -> re.Pattern[str]:
    """A regular expression that a caller gave; one that is none is refused (RequestError)."""
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise RequestError(
            f"{argument}: {pattern!r} is no regular expression ({error}); see Python's re"
        ) from error


PARTITIONS: dict[str, Callable[[Sequence[str]], Sequence[str]]] = {
    "components": _component_labels,
    "layers": lambda names: [name.rpartition("/")[0] or name for name in names],
    "tensors": lambda names: names,
}


def blocks(tree: Tree, scheme: str | Mapping[str, str] = "components") -> dict[str, list[str]]:
    """Named blocks of a tree: ``{block: [leaf names]}``.

    Parameters
    ----------
    tree
        The parameters.
    scheme
        ``"components"``, ``"layers"`` (all leaves below one module) and ``"tensors"`` (every leaf)
        divide the tree; the blocks of ``"paper"`` and ``"table3"`` overlap. A mapping goes from
        block names to regular expressions that are searched in the leaf names.

    Raises
    ------
    RequestError
        For an unknown scheme, and for a pattern that matches no leaf or is none.

    Notes
    -----
    ``"components"``, in network order: ``embedding`` (the first linear layer: kernel and bias),
    ``class_token``, ``positions``, ``stem`` (what else is in front of the first block), every
    block's ``attention`` or ``token_mlp`` and its ``mlp`` or ``channel_mlp``, each with the norm in
    front of it, every residual unit, and ``head`` with the last norm; layers where the names are
    not known.

    ``"table3"`` has the columns of Table 3 of Chen, Hsieh and Gong (arXiv:2106.01548):
    ``embedding``; the joint blocks ``attention`` and ``mlp``, a Mixer's ``token_mlp`` and
    ``channel_mlp``, of *all* layers together; first, middle and last block as a whole (numbers 1, 6
    and 12 of 12; of a ResNet the units); ``head``. ``"paper"`` has these, every component, and
    ``input_layers``: embedding, class token, positions and stem together, the wider reading of an
    embedding.

    A joint block is the union of the components of its kind, norms included. So λmax of one layer's
    component is at most that of the joint block, and this at most that of the whole; for a positive
    semidefinite matrix the whole has at most the sum over a partition.
    """
    names = leaf_names(tree)
    if isinstance(scheme, str):
        if scheme in ("paper", "table3"):
            return _of_the_paper(blocks(tree), scheme)
        if scheme not in PARTITIONS:
            known = ", ".join(["paper", "table3", *PARTITIONS])
            raise RequestError(f"blocks: {scheme!r} is none of {known}")
        grouped: dict[str, list[str]] = {}
        for name, label in zip(names, PARTITIONS[scheme](names), strict=True):
            grouped.setdefault(label, []).append(name)
        return _in_network_order(grouped)
    chosen = {
        label: [name for name in names if expression(pattern, "blocks").search(name)]
        for label, pattern in scheme.items()
    }
    for label, members in chosen.items():
        if not members:
            raise RequestError(
                f"blocks: {scheme[label]!r} ({label}) matches no parameter; "
                f"there are {len(names)}, the first is {names[0]!r}"
            )
    return chosen


def _of_the_paper(components: dict[str, list[str]], scheme: str) -> dict[str, list[str]]:
    joint: dict[str, list[str]] = {}
    whole: dict[str, list[str]] = {}
    for label, members in components.items():
        block, _, kind = label.rpartition("/")
        if block and kind in _HALVES:
            joint.setdefault(kind, []).extend(members)
            whole.setdefault(block, []).extend(members)
    units = {label: members for label, members in components.items() if _UNIT.fullmatch(label)}
    whole = _three(whole or units)
    ends = {label: components[label] for label in ("embedding", "head") if label in components}
    if scheme == "table3":
        return _in_network_order(ends | joint | whole)
    in_front = [name for label in _IN_FRONT for name in components.get(label, ())]
    more = {"input_layers": in_front} if set(in_front) > set(ends.get("embedding", ())) else {}
    unions = joint | {k: v for k, v in whole.items() if k not in units} | more
    # Somebody's network may have a layer of that name.
    unions = {f"all {k}" if k in components else k: v for k, v in unions.items()}
    return _in_network_order(components | unions)


def _three(found: dict[str, list[str]]) -> dict[str, list[str]]:
    """First, middle and last: 1, 6 and 12 of 12."""
    labels = list(found)
    places = (0, (len(labels) - 1) // 2, -1) if labels else ()
    return {labels[place]: found[labels[place]] for place in places}


def _in_network_order(grouped: dict[str, list[str]]) -> dict[str, list[str]]:
    """Embedding first, joint blocks, then block by block by number (10 after 9), head last."""
    early = (*_IN_FRONT, "input_layers", *_HALVES)

    def rank(label: str):
        place = early.index(label) if label in early else len(early) + (label == "head")
        block, _, kind = label.rpartition("/")
        half = kind in _HALVES and block
        split = re.split(r"(\d+)", block if half else label)
        parts = [int(part) if part.isdigit() else part for part in split]
        return place, parts, _HALVES.index(kind) if half else len(_HALVES)

    return {label: grouped[label] for label in sorted(grouped, key=rank)}

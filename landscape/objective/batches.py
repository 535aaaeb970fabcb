"""A fixed data set as equally shaped, masked micro-batches on the devices."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from landscape.devices import place, replicated, split
from landscape.errors import RequestError

KEEP_BYTES = 2**30  # data sets up to this size stay on the devices between passes


@dataclass(frozen=True)
class MicroBatch:
    """``examples`` real examples, padded to the common size; ``mask`` (size,) marks them."""

    batch: Any
    mask: jax.Array
    examples: int

    @property
    def size(self) -> int:
        return int(self.mask.shape[0])


class MicroBatches:
    """Passes over a re-iterable of batches.

    A batch is any pytree of arrays with one leading axis of examples. A ragged batch is padded
    with copies of its last example (real values cannot produce NaN) and masked. On a mesh the
    leading axis is divided among the devices, or every device has all examples (not ``divided``).

    Attributes
    ----------
    source
        The batches as they were passed in.
    count
        Number of batches of one pass (known after the first).
    size
        Examples of a micro-batch, padding included (known after the first pass).
    examples
        Number of examples of one pass (known after the first).
    hash
        Hex digest (16 characters) of one pass: the identity of the data.
    """

    def __init__(self, batches: Iterable, mesh: Mesh | None, *, divided: bool = True):
        if iter(batches) is batches:
            raise RequestError(
                "batches: got an iterator, which gives its examples only once; "
                "pass a list, or an object whose __iter__ starts anew"
            )
        if isinstance(batches, Mapping):
            raise RequestError("batches: this is one batch; pass a list of batches, [batch]")
        self.source = batches
        self._mesh, self._divided = mesh, divided
        self.size = 0
        self._largest: Any = None
        self._kept: list[MicroBatch] | None = None
        self._digests: list[str] = []
        self.examples = 0
        self.hash = ""

    def read(self) -> None:
        """Make the first two passes: count, hash, keep, and compare.

        Raises
        ------
        RequestError
            If the second pass gives other examples than the first, or another order.
        """
        kept, kept_bytes = [], 0
        self.examples, self._digests, self._largest = 0, [], None
        for batch in self.source:
            count = _count(batch)
            self._digests.append(_digest(batch))
            self.examples += count
            if self._largest is None or count > _count(self._largest):
                self._largest = jax.tree.map(np.asarray, batch)
            kept_bytes += sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(batch))
            if kept_bytes <= KEEP_BYTES:
                kept.append(self._prepare(batch))
        if not self.examples:
            raise RequestError("batches: no examples; pass at least one batch")
        position = -1
        for position, batch in enumerate(self.source):
            if position >= len(self._digests) or _digest(batch) != self._digests[position]:
                self._refuse(f"batch {position} differs")
        if position + 1 != len(self._digests):
            self._refuse(f"{len(self._digests)} batches, then {position + 1}")
        self.hash = hashlib.blake2b("".join(self._digests).encode(), digest_size=8).hexdigest()
        self._kept = kept if kept_bytes <= KEEP_BYTES else None

    @property
    def count(self) -> int:
        return len(self._digests)

    def __iter__(self) -> Iterator[MicroBatch]:
        if self._kept is not None:
            yield from self._kept
        else:
            for batch in self.source:
                yield self._prepare(batch)

    def gather(self, positions: np.ndarray) -> list:
        """The examples at these positions of a pass, on the host, in batches of the usual size."""
        order = np.argsort(positions, kind="stable")
        found, start = [], 0
        for batch in self.source:
            count = _count(batch)
            low, high = np.searchsorted(positions[order], [start, start + count])
            rows = positions[order[low:high]] - start
            found.append(jax.tree.map(lambda leaf, rows=rows: np.asarray(leaf)[rows], batch))
            start += count
        back = np.argsort(order, kind="stable")
        whole = jax.tree.map(lambda *parts: np.concatenate(parts)[back], *found)
        return [
            jax.tree.map(lambda leaf, i=i: leaf[i : i + self.size], whole)
            for i in range(0, len(positions), self.size)
        ]

    def _refuse(self, found: str) -> None:
        raise RequestError(
            f"batches: two passes gave different data ({found}): shuffled or randomly augmented? "
            "fix the order and the augmentation, or pass a list of batches"
        )

    @property
    def largest(self) -> MicroBatch:
        """The first of those batches that have the most examples."""
        return self._prepare(self._largest)

    def rearranged(self, order: np.ndarray, mask: np.ndarray) -> MicroBatch:
        """That batch with its examples in another order and another mask, both (size,)."""
        rows = np.minimum(order, _count(self._largest) - 1)
        return self._put(jax.tree.map(lambda leaf: leaf[rows], self._largest), mask)

    def _prepare(self, batch: Any) -> MicroBatch:
        count = _count(batch)
        devices = self._mesh.size if self._mesh is not None and self._divided else 1
        self.size = max(self.size, -(-count // devices) * devices)
        rows = np.arange(self.size)
        if count < self.size:
            batch = jax.tree.map(lambda leaf: np.asarray(leaf)[np.minimum(rows, count - 1)], batch)
        return self._put(batch, rows < count)

    def _put(self, batch: Any, mask: np.ndarray) -> MicroBatch:
        examples = int(mask.sum())
        if self._mesh is None:
            return MicroBatch(jax.tree.map(jnp.asarray, batch), jnp.asarray(mask), examples)
        sharding = split(self._mesh) if self._divided else replicated(self._mesh)
        return MicroBatch(place(batch, sharding), place(mask, sharding), examples)


def _count(batch: Any) -> int:
    sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(batch)}
    if len(sizes) != 1 or sizes == {()}:
        raise RequestError(
            "batches: the arrays of a batch must share one leading axis of examples, "
            f"got shapes {[np.shape(leaf) for leaf in jax.tree.leaves(batch)]}"
        )
    (count,) = sizes.pop()
    if not count:
        raise RequestError("batches: a batch without examples; leave it out")
    return count


def _digest(batch: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for leaf in jax.tree.leaves(batch):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()

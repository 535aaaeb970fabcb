"""What an analysis command looks at: checkpoint, model, data and loss, made into an objective."""

import dataclasses
import functools
import hashlib
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from landscape.errors import OutOfMemory, RequestError
from landscape.progress import note


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """Options that say what is analysed."""

    checkpoint: str | None = None
    """A run folder (its newest step), FOLDER@STEP, or a file; see `formats`."""
    model: str | None = None
    """Network of the checkpoint (default: what its run folder says); see `models`."""
    activation: Literal["gelu_tanh", "gelu_erf", "relu"] | None = None
    """Activation of its MLPs (default: what belongs to the checkpoint)."""
    preprocessing: str | None = None
    """How pixels become inputs (default: what belongs to the checkpoint); see `formats`."""
    data: str | None = None
    """digits, a folder of class folders, an .npz, module:function (default: the run's data)."""
    accept_changed_data: bool = False
    """Go on, with a note, where the run's data are not those it was trained on any more."""
    split: Literal["train", "test"] = "train"
    """Part of the data that is used."""
    images: int | None = None
    """Use only this many images of the split: of every class its share."""
    batch_size: int | None = None
    """Images at a time; limits memory, not the result (default: what fits, by XLA's analysis)."""
    loss: Literal["softmax_cross_entropy", "sigmoid_cross_entropy"] = "softmax_cross_entropy"
    """Loss that is analysed; the paper uses softmax whatever the training loss was."""
    l2: float = 0.0
    """Coefficient of an L2 term that is added to the loss."""
    devices: int = 1
    """Number of devices over which the images are divided."""
    dtype: Literal["bfloat16"] | None = None
    """Compute the forward pass in bfloat16 (default: in the parameters' own precision)."""
    remat: bool = False
    """Compute the inner values of every block again for derivatives: less memory on GPU and TPU."""
    objective: str | None = None
    """FILE.py:FUNCTION returning a landscape.Objective, instead of all the above."""


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded:
    """A subject in memory: model, parameters, images, and where they came from.

    ``state`` holds running statistics, ``layout`` the order and layout of the parameters in the
    file of another framework; None where there are none. ``split_size`` is that of the split
    the images were taken from.
    """

    model: Any
    params: Any
    state: Any
    layout: Any
    split: Any
    held_out: Any
    split_size: int
    preprocessing: str
    batch_size: int
    folder: Path
    stem: str
    record: dict[str, Any]

    def apply(self, params: Any, images: Any) -> Any:
        """The network's logits, with its running statistics."""
        return self.model.apply(params, images, state=self.state)


def load(options: Subject, *, checkpoint: bool = True, labels: bool = True) -> Loaded:
    """Read checkpoint and data, build the model, and check that they fit.

    Parameters
    ----------
    options
        The request.
    checkpoint
        Whether parameters are needed; without, a model name will do.
    labels
        Whether labels are needed, which then have to be those of the network.

    Raises
    ------
    RequestError
        For whatever is missing, unreadable, or does not fit.
    """
    from landscape import checkpoints
    from landscape.checkpoints import native
    from landscape.data.classes import with_labels_of
    from landscape.data.preprocessing import DEFAULT, get_preprocessing
    from landscape.models import registry

    found, config = _checkpoint(options, checkpoint)
    preprocessing = get_preprocessing(
        options.preprocessing
        or (found and found.preprocessing)
        or config.get("preprocessing")
        or DEFAULT
    )
    wanted = _request(options, found.request if found else config.get("model"))
    images, geometry, data_record = _images(options, found, config, wanted, preprocessing)
    model = registry.build(
        **{"classes": images.classes, "image_shape": images.image_shape, **wanted},
        remat=options.remat,
        dtype=options.dtype,
    )
    if tuple(model.image_shape) != images.image_shape:
        raise RequestError(
            f"data: images are {images.image_shape}, {model.name} of this checkpoint takes "
            f"{tuple(model.image_shape)}; use other --data"
        )
    mapping: dict[str, Any] = {}
    if labels:
        what = f"{model.name} of {options.checkpoint}" if options.checkpoint else model.name
        images, made = with_labels_of(images, model.classes, found and found.class_names, what)
        mapping = made.mapping
        data_record |= made.recorded
    if found:
        checkpoints.check_whole(found, model, f"checkpoint {options.checkpoint}")
    split = images.train if options.split == "train" else images.test
    if split is None:
        raise RequestError(f"split: {images.reference} has no test split; use --split train")
    split_size = len(split)
    if options.images is not None:
        if not 0 < options.images <= len(split):
            raise RequestError(
                f"images: {options.images} asked for, the {options.split} split has {len(split)}"
            )
        split = split.thinned(options.images)
    path, _ = checkpoints.located(options.checkpoint or model.name.replace("/", "-"))
    own = native.is_run_folder(path)
    return Loaded(
        model=model,
        params=found and found.params,
        state=found and found.state,
        layout=found and found.layout,
        split=split,
        held_out=images.test if options.split == "train" else images.train,
        split_size=split_size,
        preprocessing=preprocessing.name,
        batch_size=_batch_size(options, split),
        folder=path if own else Path(),
        stem="" if own else f"{path.stem}-",
        record={
            "model": model.name,
            "network": dict(model.request),
            "dtype": options.dtype or "the parameters'",
            "preprocessing": preprocessing.name,
            **_other_geometry(preprocessing, geometry),
            "checkpoint_step": -1 if found is None or found.step is None else found.step,
            "data": {**data_record, "examples": len(split), "hash": split.hash},
            **mapping,
        },
    )


def _checkpoint(options: Subject, needed: bool) -> tuple[Any, dict[str, Any]]:
    """The checkpoint, None where its parameters are not needed, and its configuration."""
    from landscape import checkpoints
    from landscape.checkpoints import native

    if options.checkpoint is None:
        if needed:
            raise RequestError("checkpoint: none given; use --checkpoint RUN_FOLDER (see `train`)")
        return None, {}
    if needed:
        found = checkpoints.load(options.checkpoint)
        return found, found.config or {}
    folder, _ = checkpoints.located(options.checkpoint)
    config = native.read_config(folder)
    if not config:
        raise RequestError(f"checkpoint: {folder} is no run folder; use --model and --data")
    return None, config


def _images(
    options: Subject,
    found: Any,
    config: dict[str, Any],
    wanted: dict[str, Any],
    preprocessing: Any,
) -> tuple[Any, Any, dict[str, Any]]:
    """The data, how they became squares, and what is recorded of them.

    Of ``wanted``, the network's image shape is left out where it takes those of the data.
    """
    from landscape import data
    from landscape.data.preprocessing import DEFAULT, get_preprocessing

    source = config.get("data", {})
    reference = options.data or source.get("reference")
    if _are_one(reference, source.get("reference")):
        reference = source["reference"]
    if reference is None:
        raise RequestError("data: the checkpoint does not say its data; use --data")
    if found and found.network and found.network.any_size and not Path(reference).is_dir():
        wanted.pop("image_shape", None)
    prepared = _as_recorded(reference, source, wanted.get("image_shape"))
    trained = get_preprocessing(config.get("preprocessing") or DEFAULT)
    own_geometry = trained.geometry_of_run(config.get("geometry"))
    geometry = preprocessing.geometry_for(prepared["image_size"])
    if source and preprocessing == trained:
        geometry = own_geometry
    images = data.load(
        reference,
        **prepared,
        geometry=geometry,
        call=options.data is not None,  # what a checkpoint's folder names is not run
    )
    record = {"reference": reference, "split": options.split}
    if reference == source.get("reference"):
        record |= _compared_with_training(options, images, source, geometry == own_geometry)
    return images, geometry, record


def _are_one(one: str | None, other: str | None) -> bool:
    """Whether two references are one folder or file."""
    try:
        return os.path.samefile(one or "", other or "")
    except (OSError, ValueError):
        return False


def _compared_with_training(
    options: Subject, images: Any, source: dict[str, Any], same_pixels: bool
) -> dict[str, Any]:
    """Refuse data that are not those of the training any more, or note it if that is accepted."""
    for name, split in (("train", images.train), ("test", images.test)):
        now = {"examples": split and len(split), "hash": split and split.hash}
        for part in ("examples", "hash") if same_pixels else ("examples",):
            was = source.get(f"{name}_{part}", now[part])  # which older runs do not say
            if was == now[part]:
                continue
            told = f"{name} split: {part} {was}, now {now[part]}"
            changed = f"data: {images.reference!r} has changed since the training ({told})"
            if not options.accept_changed_data:
                raise RequestError(f"{changed}; restore it, or go on with --accept-changed-data")
            note(changed)
            return {"changed_since_training": True}
    return {}


def _request(options: Subject, known: dict[str, Any] | None) -> dict[str, Any]:
    """Arguments for building the network: the checkpoint's own, or those of another name."""
    from landscape.checkpoints import request_as
    from landscape.models import registry

    if options.model is not None:
        known = request_as(registry.find(options.model), known)
    if known is None:
        raise RequestError(
            f"model: {options.checkpoint} does not say its network, and its parameters are "
            "those of none here; see `inspect`, or use --model NAME"
        )
    return {**known, **({"activation": options.activation} if options.activation else {})}


def _as_recorded(reference: str, source: dict[str, Any], image_shape: Any) -> dict[str, Any]:
    """How the run prepared these data; for other folders, the size that the network takes."""
    from landscape import data

    recorded = source if reference == source.get("reference") else {}
    kept = {key: recorded[key] for key in ("holdout", "seed") if key in recorded}
    # A run that was started from a checkpoint has taken its size.
    size = recorded.get("image_size") or data.size_for(reference, image_shape)
    return {**kept, "image_size": size}


def _other_geometry(preprocessing: Any, geometry: Any) -> dict[str, Any]:
    """How images became squares where that is not what the preprocessing's name usually means."""
    if geometry == preprocessing.geometry:
        return {}
    return {"geometry": dataclasses.asdict(geometry)}


def _batch_size(options: Subject, split: Any) -> int:
    if options.batch_size is not None:
        if options.batch_size < 1:
            raise RequestError(f"batch_size: {options.batch_size} is below 1; use 1 or more")
        return min(options.batch_size, len(split))
    return min(_default_batch_size(split.image_shape), len(split))


def _default_batch_size(image_shape: tuple[int, int, int]) -> int:
    """Small on a CPU, where temporaries that leave the cache cost more than they save."""
    import jax

    pixels = image_shape[0] * image_shape[1]
    if jax.default_backend() == "cpu":
        return 64 if pixels <= 64 * 64 else 16
    return min(1024, max(16, 2**22 // pixels))


def objective(options: Subject, loaded: Loaded | None, *, divide: bool = True) -> Any:
    """The objective of a loaded subject, or the user's own of ``--objective``.

    ``divide`` says whether ``--devices`` divides the images.
    """
    if options.objective is not None:
        return _own_objective(options.objective)
    return _objective(options, loaded, loaded.batch_size, divide=divide)


def fitting_objective(
    options: Subject,
    loaded: Loaded | None,
    change: Callable[[Any], Any],
    vectors: int | None,
) -> Any:
    """The same, changed, with batches small enough for products.

    Parameters
    ----------
    options
        The request.
    loaded
        The subject; None for the user's own objective, whose batches are left as they are.
    change
        What is made of the objective, such as another matrix.
    vectors
        Vectors that will be kept beside a product; None if products are not compiled as such.
        Where no batch size was asked for, it is halved until the program fits beside them.
    """
    if options.objective is not None:
        return change(_own_objective(options.objective))
    size = loaded.batch_size
    while True:
        try:
            made = change(_objective(options, loaded, size))
            if vectors is not None:
                made.prepare("product", vectors=vectors)
            return made
        except OutOfMemory:
            if options.batch_size is not None or size == 1:
                raise
            size = max(1, size // 2)


def held_out_objective(options: Subject, loaded: Loaded | None, *, divide: bool = True) -> Any:
    """The objective over the split that is not analysed, at most as many images.

    Raises
    ------
    RequestError
        If there is no such split.
    """
    split = loaded and loaded.held_out
    if split is None:
        raise RequestError("both_splits: there is only one split; leave it out")
    images = split.thinned(min(len(split), len(loaded.split)))
    part = {**loaded.record["data"], "examples": len(images), "hash": images.hash}
    part["split"] = "test" if part["split"] == "train" else "train"
    other = dataclasses.replace(
        loaded, split=images, split_size=len(split), record={**loaded.record, "data": part}
    )
    return objective(options, other, divide=divide)


def _objective(options: Subject, loaded: Loaded, batch_size: int, *, divide: bool = True) -> Any:
    from landscape.data.loader import batches
    from landscape.devices import data_mesh
    from landscape.objective import Objective

    loss, metrics, estimate_state = classification(loaded.model, loaded.preprocessing, options.loss)
    return Objective(
        loss,
        loaded.params,
        batches(loaded.split, batch_size),
        mesh=data_mesh(options.devices) if options.devices > 1 and divide else None,
        l2=options.l2,
        metrics=metrics,
        state=loaded.state,
        estimate_state=estimate_state,
        share_programs=True,  # the functions are those of one model
        record={
            "loss_name": options.loss,
            "augmentation": "none",
            # GroupNorm and LayerNorm keep no statistics
            "normalisation_statistics": "none" if loaded.state is None else "running",
            **loaded.record,
        },
        split_size=loaded.split_size,
    )


@functools.lru_cache(maxsize=32)
def classification(model: Any, preprocessing: str, loss: str) -> tuple[Any, Any, Any]:
    """Loss, metrics and state of a classifier, for an objective.

    Cached: checkpoints of one model share their programs.
    """
    import jax
    import jax.numpy as jnp

    from landscape.data.preprocessing import preprocess
    from landscape.losses import get_loss, is_correct
    from landscape.objective import Composite

    prepare, per_example = preprocess(preprocessing), get_loss(loss)

    def logits(params, *rest):
        *state, batch = rest
        kept = {"state": state[0]} if state else {}
        return model.apply(params, prepare(batch["images"]), **kept)

    def criterion(outputs, batch):
        return per_example(outputs, batch["labels"])

    def metrics(params, *rest):
        right = is_correct(logits(params, *rest), rest[-1]["labels"])
        return {"accuracy": right.astype(jnp.float32)}

    def estimate_state(params, batch, mask):
        return model.batch_state(params, prepare(batch["images"]), mask)

    def sample(key, output, example):
        return {**example, "labels": jax.random.categorical(key, output).astype(jnp.int32)}

    # Sigmoid cross-entropy is no distribution over single labels.
    composite = Composite(logits, criterion, sample if loss.startswith("softmax") else None)
    return composite, metrics, estimate_state if model.has_state else None


def _own_objective(reference: str) -> Any:
    from landscape.objective import Objective

    path, _, name = reference.rpartition(":")
    if not path or not Path(path).is_file():
        raise RequestError(f"objective: {reference!r} names no file; write FILE.py:FUNCTION")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise RequestError(f"objective: {path} is no Python file; write FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        raise RequestError(f"objective: {path} has no function {name!r}")
    made = function()
    if not isinstance(made, Objective):
        raise RequestError(
            f"objective: {name} in {path} returned {type(made).__name__}, not a landscape.Objective"
        )
    # The hashes of parameters and data do not tell an edited loss.
    digest = hashlib.blake2b(Path(path).read_bytes(), digest_size=8).hexdigest()
    return made.with_record({"objective_file": digest})


def refuse_unused(options: Subject, command: str, *names: str) -> None:
    """Refuse options that the command has no use for, where they were given.

    Raises
    ------
    RequestError
        Which names the option.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(Subject)}
    for name in names:
        if getattr(options, name) != defaults[name]:
            option = name.replace("_", "-")
            raise RequestError(f"{option}: `{command}` has no use for it; leave --{option} out")


def result_path(options: Any, loaded: Loaded | None, name: str) -> Path:
    """``--out``, or ``NAME.h5`` in the run folder, or beside the user's own objective."""
    if options.out is not None:
        path = Path(options.out)
        if path.is_dir():
            raise RequestError(f"out: {path} is a folder; name a file such as {path / name}.h5")
        return path
    if loaded is None:
        return Path(f"{Path(options.objective.rpartition(':')[0]).stem}-{name}.h5")
    return loaded.folder / f"{loaded.stem}{name}.h5"

"""The training loop: one function, to be read from top to bottom.

A run folder holds ``config.json`` (everything needed to build model and data again),
``metrics.jsonl`` (a line per step) and ``checkpoints/<step>/``. Kill the process at any moment:
the same call goes on from the last checkpoint and ends with the same weights, bit for bit.
"""

import dataclasses
import importlib.metadata
import json
import platform
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh, SingleDeviceSharding

from landscape.checkpoints import Checkpoint, native
from landscape.checkpoints import load as load_checkpoint
from landscape.checkpoints.fine_tuning import adapted
from landscape.checkpoints.fit import check_known
from landscape.data import Data, load
from landscape.data.classes import Labels, with_labels_of
from landscape.data.loader import TrainingOrder
from landscape.data.preprocessing import DEFAULT, get_preprocessing, preprocess
from landscape.data.sources import size_for
from landscape.devices import place, replicated
from landscape.errors import RequestError
from landscape.losses import get_loss
from landscape.models import registry
from landscape.models.model import Model
from landscape.parameters import content_hash, norm
from landscape.progress import MakeBar, bar, no_bar
from landscape.training import optimizers
from landscape.training.config import TrainConfig, as_dict, differences
from landscape.training.evaluate import evaluate
from landscape.training.metrics import MetricLog, read
from landscape.training.sam import divide, sam_gradient

SCHEMA = 1
DEFAULT_MODEL = "ViT-Mini/2"
_CHOSEN = ("activation", "dropout", "stochastic_depth", "representation", "dtype", "remat")
EVALUATED = 10_000  # training examples (evenly spaced) on which the training accuracy is measured


@dataclass(frozen=True)
class TrainResult:
    """A finished run.

    Attributes
    ----------
    folder
        The run folder.
    step
        Training steps done.
    metrics
        The last line of ``metrics.jsonl``; with ``test_loss`` and ``test_accuracy`` if the data
        has a test split.
    resumed_from
        The step this call went on from; 0 for a new run, ``step`` if there was nothing to do.
    """

    folder: Path
    step: int
    metrics: dict[str, float]
    resumed_from: int


def train(
    config: TrainConfig,
    folder: str | Path,
    *,
    mesh: Mesh | None = None,
    make_bar: MakeBar = bar,
    command: str = "",
) -> TrainResult:
    """Train a network, or go on with its training.

    Parameters
    ----------
    config
        What to train.
    folder
        The run folder, made if needed. A finished run returns at once; an interrupted one is
        resumed.
    mesh
        Devices to divide each batch among; the result is the same up to rounding.
    make_bar
        What shows the progress; `landscape.progress.no_bar` shows nothing.
    command
        The command that asked for this, for the record.

    Raises
    ------
    RequestError
        If the configuration cannot be carried out, the folder holds a run with another one, or
        training diverges (the last checkpoint stays).
    """
    folder = Path(folder)

    # ---- The run folder: new, interrupted or finished ----------------------------------------
    stored = _stored_config(folder)
    start = max(native.steps(folder), default=0) if stored else 0
    if stored:
        # A run from before a setting existed was made with its default.
        _refuse_other(folder, as_dict(config), as_dict(TrainConfig()) | stored["training"])
        if start == stored["steps"]:
            last = (read(folder / native.METRICS) or [{}])[-1]
            return TrainResult(folder, start, last, start)

    # ---- Data and model ----------------------------------------------------------------------
    begun = None if config.start_from is None else load_checkpoint(config.start_from)
    preprocessing = config.preprocessing or (begun and begun.preprocessing) or DEFAULT
    image_size = config.image_size or _own_size(config, begun)
    prepared = get_preprocessing(preprocessing)
    geometry = prepared.geometry_for(image_size)
    if stored:  # perhaps from before it depended on the size
        geometry = prepared.geometry_of_run(stored.get("geometry"))
    data = load(
        config.data,
        holdout=config.holdout,
        seed=config.seed,
        image_size=image_size,
        geometry=geometry,
    )
    as_loaded, (data, labels) = data, _labelled(config, begun, data)
    order = TrainingOrder(len(data.train), config.batch_size, config.seed)
    model = registry.build(**_network(config, begun, data))
    if model.has_state:
        raise RequestError(
            f"model: {model.name} has BatchNorm, whose running statistics the trainer cannot keep "
            "yet; choose a network without, such as ResNet-50"
        )
    initial = begun and _initial(config, begun, model)
    steps = config.steps(len(data.train))
    inputs, loss = preprocess(preprocessing), get_loss(config.loss)

    def losses(params, batch, key):
        return loss(model.apply(params, inputs(batch["images"]), key=key), batch["labels"])

    # ---- Gradient and optimiser --------------------------------------------------------------
    divide(config.batch_size, config.rho, config.group, mesh)  # refused before anything is written
    gradient_of = sam_gradient(losses, rho=config.rho, group=config.group, mesh=mesh)
    learning_rate = optimizers.schedule(
        config.learning_rate, steps, config.warmup(steps), config.decay
    )
    optimizer = optimizers.optimizer(
        config.optimizer, learning_rate, weight_decay=config.weight_decay, clip=config.clip
    )

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(params, state, gradient, step):
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        measured = {
            "learning_rate": learning_rate(step),
            "gradient_norm": norm(gradient),
            "parameter_norm": norm(params),
        }
        return params, state, measured

    # ---- Initial or restored weights ---------------------------------------------------------
    described = {"command": command, **_description(config, as_loaded, model, steps)}
    described["geometry"] = dataclasses.asdict(geometry)
    names = data.class_names and list(data.class_names)
    described["data"] |= {"class_names": names, **labels.recorded, **labels.mapping}
    described |= {"preprocessing": preprocessing, "started_from": _origin(begun)}
    if stored:
        _refuse_other(folder, described["data"], stored["data"])
    first_process = jax.process_index() == 0
    if first_process and not stored:
        native.write_config(folder, described)

    init_key, run_key = (jax.random.fold_in(jax.random.key(config.seed), i) for i in range(2))
    where = SingleDeviceSharding(jax.local_devices()[0]) if mesh is None else replicated(mesh)
    seen = data.train.thinned(EVALUATED)
    measure = partial(
        evaluate,
        model.apply,
        preprocessing=preprocessing,
        batch_size=config.batch_size,
        loss=config.loss,
        mesh=mesh,
    )
    make_bar = make_bar if first_process else no_bar
    metrics_path = folder / native.METRICS if first_process else None
    with (
        native.Writer(folder, config.keep) as checkpoints,
        MetricLog(metrics_path, start) as log,
        make_bar("train", steps - start) as advance,
    ):
        if start:
            abstract = model.abstract()
            abstract = (abstract, jax.eval_shape(optimizer.init, abstract))
            abstract = jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), abstract
            )
            params, state = checkpoints.restore(start, *abstract)
        else:
            params = place(initial or jax.device_get(model.init(init_key)), where)
            state = jax.jit(optimizer.init, out_shardings=where)(params)

        # ---- Steps -----------------------------------------------------------------------------
        for step in range(start, steps):
            chosen = order.indices(step)
            batch = {"images": data.train.images[chosen], "labels": data.train.labels[chosen]}
            train_loss, gradient = gradient_of(params, batch, run_key, step)
            params, state, measured = update(params, state, gradient, np.int32(step))
            done = step + 1

            if done == steps or (config.evaluate_every and done % config.evaluate_every == 0):
                measured["train_accuracy"] = measure(params, seen)["accuracy"]
                if data.test is not None:
                    found = measure(params, data.test)
                    measured |= {"test_loss": found["loss"], "test_accuracy": found["accuracy"]}
            epoch = done * config.batch_size / len(data.train)
            log.add(step=done, epoch=epoch, train_loss=train_loss, **measured)

            if done == steps or done % config.checkpoint_every == 0:
                log.flush()  # first: a checkpoint is of finite weights, and has its metrics
                checkpoints.save(done, params, state)
            advance(note=f"loss {log.last['train_loss']:.3g}" if log.last else "")

    return TrainResult(folder, steps, log.last, start)


def _stored_config(folder: Path) -> dict[str, Any] | None:
    """The configuration of an existing run; None for a new or empty folder."""
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"out: {folder} is a file; name a folder")
    stored = native.read_config(folder)
    if stored is None and folder.is_dir():
        others = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
        if others:
            raise RequestError(
                f"out: {folder} holds {others[0]!r} and is no run folder; name a new folder"
            )
    if stored is not None and stored.get("schema") != SCHEMA:
        raise RequestError(
            f"out: {folder / native.CONFIG} is of schema {stored.get('schema')}, not {SCHEMA}; "
            "name a new folder"
        )
    if stored is not None and not {"training", "steps", "data"} <= stored.keys():
        raise RequestError(f"out: {folder} holds no training to go on with; name a new folder")
    return stored


def _refuse_other(folder: Path, asked: dict[str, Any], found: dict[str, Any]) -> None:
    differing = differences(json.loads(json.dumps(asked)), found)
    if differing:
        raise RequestError(
            f"out: {folder} holds a run with other settings: {', '.join(differing)}; "
            "name a new folder or use the same settings"
        )


def _network(config: TrainConfig, begun: Checkpoint | None, data: Data) -> dict[str, Any]:
    """Arguments of the registry: the checkpoint's network, or the one that was asked for.

    Without the checkpoint's kind of head: what predicted masked patches becomes a classifier.
    """
    known = {} if begun is None else begun.request
    if known is None:
        raise RequestError(f"start_from: {config.start_from} is of no network of the registry")
    name = config.model or known.get("name", DEFAULT_MODEL)
    if known and registry.find(name) != known["name"]:
        raise RequestError(
            f"start_from: {config.start_from} is a {known['name']}, not a {name}; leave out model"
        )
    known = {key: value for key, value in known.items() if key != "head"}
    chosen = {key: value for key in _CHOSEN if (value := getattr(config, key)) is not None}
    sizes = {"classes": data.classes, "image_shape": data.image_shape}
    return {**known, "name": name, **sizes, **chosen}


def _initial(config: TrainConfig, begun: Checkpoint, model: Model) -> dict:
    what = f"start_from {config.start_from}"
    check_known(begun.unknown, what)
    return adapted(
        begun.params,
        model,
        image_shape=registry.build(**begun.request).image_shape,
        new_head=config.new_head,
        what=what,
    )


def _labelled(config: TrainConfig, begun: Checkpoint | None, data: Data) -> tuple[Data, Labels]:
    """The data with the labels of a head that is kept, and how they came about."""
    classes = ((begun and begun.request) or {}).get("classes")
    if classes != data.classes or config.new_head:
        return data, Labels("as given")
    what = f"start_from {config.start_from}"
    try:
        return with_labels_of(data, classes, begun.class_names, what)
    except RequestError as error:
        raise RequestError(f"{error}; or start from a new head (--new-head)") from error


def _own_size(config: TrainConfig, begun: Checkpoint | None) -> int | None:
    """The size of the checkpoint's images, which those of a folder get."""
    known = {} if begun is None else begun.request or {}
    return size_for(config.data, known.get("image_shape"))


def _origin(begun: Checkpoint | None) -> dict[str, Any] | None:
    if begun is None:
        return None
    return {"reference": begun.reference, "parameters_hash": content_hash(begun.params)}


def _description(config: TrainConfig, data: Data, model: Any, steps: int) -> dict[str, Any]:
    """The content of ``config.json``."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
    test = data.test
    return {
        "schema": SCHEMA,
        "steps": steps,
        "model": dict(model.request),
        "data": {
            "reference": config.data,
            "holdout": config.holdout,
            "seed": config.seed,
            "image_size": config.image_size,
            "train_examples": len(data.train),
            "train_hash": data.train.hash,
            "test_examples": None if test is None else len(test),
            "test_hash": None if test is None else test.hash,
        },
        "training": as_dict(config),
        "versions": {
            "python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in packages},
        },
    }

"""train(): the loop over epochs: callbacks, progress bar, validation, History. The steps themselves are in `compiled`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from vae_lib.checks import check_images, check_labels
from vae_lib.compiled import State, compiled_steps, compiled_sums, compiler, frozen_variables
from vae_lib.config import TrainConfig
from vae_lib.model import VAE, check_vae

_EVALUATION_BATCH = 1000
# callbacks of Keras that have a method for batches and do not need it when they look at whole epochs
_BY_EPOCH: dict[Any, Callable[[Any], bool]] = {
    keras.callbacks.ModelCheckpoint: lambda callback: callback.save_freq == "epoch",
    keras.callbacks.BackupAndRestore: lambda callback: callback.save_freq == "epoch",
    keras.callbacks.TensorBoard: lambda callback: (
        callback.update_freq == "epoch"
        and not callback.write_steps_per_second
        and not getattr(callback, "_should_trace", False)  # profile_batch, which it does not keep
    ),
}
# settings of Adam that the compiled steps do not know
_FOR_FIT_ALONE = (
    "weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "amsgrad", "gradient_accumulation_steps", "loss_scale_factor",
)  # fmt: skip


class TrainingError(RuntimeError):
    """Training that cannot go on: a `RuntimeError`; the model keeps the weights of its last good epoch."""


@dataclass
class History:
    """What `train` measured, one entry per epoch; all but `seconds` are nats per image.

    Training values are means over the epoch, while the weights moved; validation values come after it. Each uses one sample of
    z for an image. `loss` is reconstruction + beta · KL, also where a warm-up or free bits let another weight or KL be minimised.

    Attributes
    ----------
    loss
        reconstruction + beta · KL on the training images.
    reconstruction
        Its first part.
    kl
        Its second part, without beta.
    val_loss
        The loss on the validation images; this and the next two are empty if there are none.
    val_reconstruction
        Its first part.
    val_kl
        Its second part, without beta.
    seconds
        How long each epoch took, validation included.
    """

    loss: list[float] = field(default_factory=list)
    reconstruction: list[float] = field(default_factory=list)
    kl: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_reconstruction: list[float] = field(default_factory=list)
    val_kl: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        """Count the finished epochs."""
        return len(self.loss)


def train(
    vae: VAE,
    x: NDArray[np.float32],
    *,
    labels: Any = None,
    config: TrainConfig | None = None,
    validation: NDArray[np.float32] | None = None,
    validation_labels: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] | keras.callbacks.Callback | None = (),
    progress: bool = True,
) -> History:
    """Train a VAE with Adam on reconstruction + beta · KL.

    Ctrl-C stops it and keeps the weights of the last finished epoch, which is the last in the History. The same seed on the
    same machine gives the same weights. What was done is noted in `vae.trained`.

    The optimiser is the model's own, `vae.optimizer`, which callbacks see and change as in Keras's `fit`: the Adam that the model
    was compiled with, with its settings, or else a new one. It starts afresh, at the configuration's learning rate.

    Parameters
    ----------
    vae
        From `build_vae`; trained in place. Layers whose `trainable` is False stay as they are.
    x
        Training images, (images, input_dim), in [0, 1].
    labels
        For a conditional VAE, and only for one: the label of each image, (images,), whole numbers from 0 to classes − 1.
    config
        Epochs, batch size, learning rate, beta, seed, binarisation, warm-up and free bits; by default the configuration that
        `vae` was built with.
    validation
        Images for `History.val_*`, same form as `x`; never trained on, and never binarised here.
    validation_labels
        The labels of `validation`, for a conditional VAE.
    callbacks
        Keras callbacks, one or several, called as by `fit`. Where one needs to be called at each batch, batches are taken one by
        one, which is slower. A `BackupAndRestore` goes on exactly where it was if it saves at the end of epochs; one that saves
        in the middle of an epoch repeats that epoch from there, as under `fit`.
    progress
        Whether to show a progress bar.

    Returns
    -------
    History
        Loss, reconstruction and KL of each epoch, nats per image, and seconds.

    Raises
    ------
    ValueError
        If `vae` is no VAE or has nothing to train, `x` or `validation` has the wrong form, `config` the wrong sizes, labels are
        missing, superfluous or out of range, a callback is none, the model was compiled with an optimiser that only `fit` can
        use, or Keras runs neither on TensorFlow nor on JAX (then use `compile` and `fit`).
    TrainingError
        If the loss or a weight is not a finite number any more; the weights are those of the last good epoch.

    References
    ----------
    Kingma and Welling 2013, arXiv:1312.6114, algorithm 1; Kingma and Ba 2014, arXiv:1412.6980.
    """
    check_vae(vae)
    config = vae.config if config is None else config
    if not isinstance(config, TrainConfig):
        raise ValueError(f"config: expected a TrainConfig, got {type(config).__name__}; write TrainConfig(epochs=10)")
    for name in ("input_dim", "latent_dim", "hidden", "classes", "activation"):
        if getattr(config, name) != getattr(vae.config, name):
            raise ValueError(
                f"config.{name}: expected {getattr(vae.config, name)!r} as in the model, got {getattr(config, name)!r}; "
                f"build another model for other sizes"
            )
    x = check_images(x, vae.config.input_dim, "x")
    labels = check_labels(labels, len(x), config.classes)
    held_out = None
    if validation is not None:
        validation = check_images(validation, vae.config.input_dim, "validation")
        held_out = validation, check_labels(validation_labels, len(validation), config.classes, "validation_labels")
    elif validation_labels is not None:
        raise ValueError("validation_labels: expected none without validation images; give validation as well")
    called = _checked_callbacks(callbacks)
    if not vae.trainable_variables:
        raise ValueError(f"vae: expected weights to train, got none: every layer is frozen; {_how_to_release(vae)}")
    return _Training(vae, (x, labels), config, held_out, called, progress=progress).run()


def _how_to_release(vae: VAE) -> str:
    """Say which of the frozen to release: setting a model's `trainable` to what it is already does nothing to its layers."""
    for model, name in ((vae, "vae"), (vae.encoder, "vae.encoder"), (vae.decoder, "vae.decoder")):
        if not model.trainable:
            return f"set {name}.trainable = True"
    return "set layer.trainable = True for a layer in vae.encoder.layers or vae.decoder.layers"


def _checked_callbacks(callbacks: Any) -> list[keras.callbacks.Callback]:
    """Return the callbacks as a list, or say which is none."""
    if callbacks is None:
        return []
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return list(callbacks.callbacks)
    given = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
    for callback in given:
        if not isinstance(callback, keras.callbacks.Callback):
            got = f"the class {callback.__name__}" if isinstance(callback, type) else type(callback).__name__
            raise ValueError(f"callbacks: expected Keras callbacks, got {got}; give a list such as [vae_lib.TrainingRecorder(x)]")
    return given


def _needs_batches(callback: keras.callbacks.Callback) -> bool:
    """Whether a callback has to be called at each batch."""
    methods = (callback.on_train_batch_begin, callback.on_train_batch_end, callback.on_batch_begin, callback.on_batch_end)
    if all(getattr(method, "_is_default", False) for method in methods):  # so Keras marks those of its own base class
        return False
    for kind, by_epoch in _BY_EPOCH.items():
        if isinstance(callback, kind) and type(callback).on_train_batch_end is kind.on_train_batch_end:
            return not by_epoch(callback)
    return True


def _optimizer(vae: VAE, config: TrainConfig) -> keras.optimizers.Adam:
    """Return the model's Adam, reset, at the configuration's learning rate; compile the model with one if it has none."""
    if getattr(vae, "optimizer", None) is None:
        vae.compile(keras.optimizers.Adam(config.learning_rate))
    adam = vae.optimizer
    settings = (
        "weight_decay",
        "clipnorm",
        "clipvalue",
        "global_clipnorm",
        "amsgrad",
        "gradient_accumulation_steps",
        "loss_scale_factor",
    )
    if type(adam) is not keras.optimizers.Adam or any(getattr(adam, name, None) for name in settings):
        extra = [f"{name}={getattr(adam, name)!r}" for name in settings if getattr(adam, name, None)]
        got = type(adam).__name__ + (f" with {', '.join(extra)}" if extra else "")
        raise ValueError(
            f"vae.optimizer: expected keras.optimizers.Adam without {', '.join(_FOR_FIT_ALONE)}, got {got}; compile with "
            f"keras.optimizers.Adam(), or train with vae.fit, which takes every optimiser"
        )
    if not isinstance(getattr(adam, "_learning_rate", None), keras.Variable):
        raise ValueError(
            "vae.optimizer: expected a learning rate that is a number, got a schedule; use TrainConfig(learning_rate_end=…), the "
            "callback keras.callbacks.LearningRateScheduler, or vae.fit"
        )
    built_for = [id(variable) for variable in adam._trainable_variables] if adam.built else None
    if built_for is not None and built_for != [id(variable) for variable in vae.trainable_variables]:
        vae.compile(keras.optimizers.Adam.from_config(adam.get_config()))  # other layers are frozen now
        adam = vae.optimizer
    adam.build(vae.trainable_variables)
    for variable in adam.variables:
        variable.assign(ops.zeros_like(variable.value))
    adam.learning_rate = config.learning_rate
    return adam


class _Training:
    """One call of `train`: what is measured, and what has to be put back if it is interrupted."""

    def __init__(
        self,
        vae: VAE,
        data: tuple[NDArray[np.float32], NDArray[np.int32]],
        config: TrainConfig,
        validation: tuple[NDArray[np.float32], NDArray[np.int32]] | None,
        callbacks: list[keras.callbacks.Callback],
        *,
        progress: bool,
    ) -> None:
        self.vae, self.config, self.validation, self.progress = vae, config, validation, progress
        self.xla = compiler()
        self.adam = _optimizer(vae, config)
        self.variables = list(vae.trainable_variables)
        self.count = len(data[0])
        self.batch_size = min(config.batch_size, self.count)
        batches = -(-self.count // self.batch_size)
        self.warmup_steps = config.kl_warmup * batches
        self.by_batch = any(_needs_batches(callback) for callback in callbacks)
        self.steps: dict[int, Callable[..., tuple[State, Any]]] = {}  # for each number of images
        self.sums = None if validation is None else compiled_sums(self.xla, vae, config)
        self.x, self.labels = self.xla.tensor(data[0]), ops.convert_to_tensor(data[1])
        self.history = History()
        self.watch = keras.callbacks.CallbackList(
            callbacks, model=vae, epochs=config.epochs, steps=batches, verbose=int(progress)
        )
        self.finished: tuple[int, State] = (0, self._state())  # entries of the history, and the state after them

    def run(self) -> History:
        """Train, and note in the model what was done."""
        vae, config = self.vae, self.config
        vae.stop_training = False
        vae._initial_epoch = None  # where BackupAndRestore says to go on
        self.watch.on_train_begin()
        self._check_frozen()
        first = vae._initial_epoch or 0
        self.finished = (0, self._state())
        what = {"by": "train", "config": asdict(config), "images": self.count, "epochs": first}
        entry: dict[str, Any] = json.loads(json.dumps(what))  # as it comes back from a file
        earlier = [other for other in vae.trained if not (first and other == entry)]  # a backup holds what is gone on with
        logs: dict[str, float] = {}
        interrupted = False
        try:
            for number in range(first, config.epochs):
                logs = self._epoch(number)
                vae.trained = [*earlier, {**entry, "epochs": number + 1}]
                self.watch.on_epoch_end(number, logs)
                state = self._state()
                if _is_finite(state.weights):  # callbacks may have set weights
                    self.finished = (len(self.history), state)
                if vae.stop_training:
                    break
            if len(self.history):
                self.adam.finalize_variable_values(self.variables)  # a moving average takes the place of the weights
        except KeyboardInterrupt:
            interrupted = True
            self._put_back()
            done = first + len(self.history)
            print(f"\nInterrupted: the weights of epoch {done} of {config.epochs} are kept.", file=sys.stderr)
        except BaseException:
            self._put_back()
            raise
        finally:
            done = first + len(self.history)
            vae.trained = [*earlier, {**entry, "epochs": done}] if done else earlier
            vae._initial_epoch = None
        if interrupted:  # a backup is for the next call, and at the end of a training it would be deleted
            backup = keras.callbacks.BackupAndRestore
            self.watch.callbacks = [callback for callback in self.watch.callbacks if not isinstance(callback, backup)]
        self.watch.on_train_end(logs or None)
        return self.history

    def _epoch(self, number: int) -> dict[str, float]:
        """Train one epoch and measure it; the history and the state to go back to are the model's afterwards."""
        self._lower_learning_rate(number)
        self.watch.on_epoch_begin(number)
        start = time.perf_counter()
        order = np.random.default_rng([self.config.seed, number]).permutation(self.count).astype(np.int32)
        logs = self._batches(order, number) if self.by_batch else self._take(order, number)
        logs |= self._validate(number)
        state = self._state()
        for name, value in logs.items():
            getattr(self.history, name).append(value)
        self.history.seconds.append(time.perf_counter() - start)
        self.finished = (len(self.history), state)  # in one name: an interruption finds both or none
        if self.progress:
            _show_progress(self.history, number + 1, self.config.epochs)
        return logs

    def _take(self, order: NDArray[np.int32], number: int) -> dict[str, float]:
        """Take the gradient steps for these images, in this order; the model's weights and optimiser move with them."""
        self._check_frozen()
        if len(order) not in self.steps:
            self.steps[len(order)] = compiled_steps(self.xla, self.vae, self.config, len(order), self.warmup_steps, self.adam)
        rate = np.float32(ops.convert_to_numpy(self.adam.learning_rate))
        frozen = _values(frozen_variables(self.vae))
        seed = np.int32(self.config.seed)
        state, sums = self.steps[len(order)](self.x, self.labels, order, seed, rate, self._state(), frozen)
        loss, reconstruction, kl = (float(total) / len(order) for total in ops.convert_to_numpy(sums))
        # the loss was taken before the last step, which may have spoilt the weights alone
        if not (np.isfinite(loss) and _is_finite(state.weights)):
            raise TrainingError(
                f"epoch {number + 1}: expected finite loss and weights, got the loss {loss}; the weights of epoch {number} "
                f"are kept. Lower the learning rate (now {rate:.3g}) and look at the data"
            )
        self._set(state)
        return {"loss": loss, "reconstruction": reconstruction, "kl": kl}

    def _batches(self, order: NDArray[np.int32], number: int) -> dict[str, float]:
        """Take the steps of an epoch one by one, for callbacks that look at batches; return the means so far, as `fit` does."""
        totals: dict[str, float] = dict.fromkeys(("loss", "reconstruction", "kl"), 0.0)
        logs: dict[str, float] = {}
        for i, start in enumerate(range(0, len(order), self.batch_size)):
            self.watch.on_train_batch_begin(i)
            rows = order[start : start + self.batch_size]
            for name, value in self._take(rows, number).items():
                totals[name] += value * len(rows)
            logs = {name: total / (start + len(rows)) for name, total in totals.items()}
            self.watch.on_train_batch_end(i, logs)
            if self.vae.stop_training:
                break
        return logs

    def _validate(self, number: int) -> dict[str, float]:
        """Measure the loss on the validation images with the weights that callbacks want to be measured."""
        if self.validation is None or self.sums is None:
            return {}
        noise = np.random.default_rng([self.config.seed, number, 1])
        x, labels = self.validation
        totals = np.zeros(2)
        self.watch.on_test_begin()
        self._check_frozen()
        values = _values([*self.vae.trainable_variables, *frozen_variables(self.vae)])
        logs: dict[str, float] = {}
        for i, start in enumerate(range(0, len(x), _EVALUATION_BATCH)):
            batch, digits = x[start : start + _EVALUATION_BATCH], labels[start : start + _EVALUATION_BATCH]
            self.watch.on_test_batch_begin(i)
            eps = noise.standard_normal((len(batch), self.config.latent_dim), dtype=np.float32)
            totals += ops.convert_to_numpy(self.sums(values, batch, digits, eps))
            reconstruction, kl = (float(total) for total in totals / (start + len(batch)))
            logs = {"loss": reconstruction + self.config.beta * kl, "reconstruction": reconstruction, "kl": kl}
            self.watch.on_test_batch_end(i, logs)
        self.watch.on_test_end(logs)
        return {f"val_{name}": value for name, value in logs.items()}

    def _lower_learning_rate(self, number: int) -> None:
        """Set the step size of an epoch, counted from 0, where the configuration changes it from epoch to epoch."""
        if self.config.learning_rate_end is None or number == 0:
            return
        now = np.float32(ops.convert_to_numpy(self.adam.learning_rate))
        before, wanted = np.float32(_learning_rate(self.config, number - 1)), _learning_rate(self.config, number)
        # by the same factor also where a callback has changed it
        self.adam.learning_rate = wanted if now == before else float(now) * wanted / float(before)

    def _check_frozen(self) -> None:
        """Refuse layers that were frozen or released meanwhile: Adam and the compiled steps are made for those of the start."""
        if [id(variable) for variable in self.vae.trainable_variables] != [id(variable) for variable in self.variables]:
            raise ValueError(
                "callbacks: expected the same layers to be trained from start to end, got others: one of them has set trainable; "
                "set it between two calls of train"
            )

    def _state(self) -> State:
        """Copy what training changes out of the model and its optimiser."""
        adam = self.adam
        averages = adam._model_variables_moving_average if adam.use_ema else []
        step = ops.cast(adam.iterations.value, "int32")
        lists = self.variables, [*adam._momentums, *adam._velocities], averages
        return State(step, *([ops.copy(variable.value) for variable in variables] for variables in lists))

    def _set(self, state: State) -> None:
        """Give the model and its optimiser the values of a state."""
        adam = self.adam
        averages = adam._model_variables_moving_average if adam.use_ema else []
        adam.iterations.assign(state.step)
        lists = self.variables, [*adam._momentums, *adam._velocities], averages
        for variables, values in zip(lists, state[1:], strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

    def _put_back(self) -> None:
        """Return to the end of the last finished epoch."""
        count, state = self.finished
        self._set(state)
        for values in vars(self.history).values():
            del values[count:]


def _is_finite(tensors: Sequence[Any]) -> bool:
    return all(bool(ops.all(ops.isfinite(tensor))) for tensor in tensors)


def _show_progress(history: History, done: int, epochs: int) -> None:
    """Redraw one line on standard error: a bar, the loss, and the time that is left."""
    bar = "█" * round(20 * done / epochs)
    left = (epochs - done) * history.seconds[-1]
    validation = f", validation {history.val_loss[-1]:.2f}" if history.val_loss else ""
    line = f"\r|{bar:<20}| epoch {done}/{epochs}: loss {history.loss[-1]:.2f}{validation} nats per image, {left:.0f} s left "
    print(line, end="\n" if done == epochs else "", file=sys.stderr, flush=True)


def _values(variables: Sequence[Any]) -> list[Any]:
    return [variable.value for variable in variables]


def _learning_rate(config: TrainConfig, number: int) -> float:
    """Step size of an epoch, counted from 0: it falls by the same factor each time."""
    if config.learning_rate_end is None or config.epochs == 1:
        return config.learning_rate
    return float(config.learning_rate * (config.learning_rate_end / config.learning_rate) ** (number / (config.epochs - 1)))

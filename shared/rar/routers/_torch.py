"""What the routers that PyTorch fits share: devices, one training loop, checkpoints, split networks.

PyTorch, transformers and safetensors are imported where they are used: none of them is needed to load the package.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from rar.errors import ConfigurationError, MissingDependencyError, WeightsError
from rar.naming import shown
from rar.networks import by_length, padded
from rar.outcomes import Outcomes
from rar.routers.base import Progress
from rar.routers.trained import Training

Device: TypeAlias = Literal["auto", "cuda", "mps", "cpu"]
Tensors: TypeAlias = dict[str, Any]
Rows: TypeAlias = npt.NDArray[np.intp]

EXTRA = "transformers"
_log = logging.getLogger("rar")


# --- the libraries --------------------------------------------------------------------------------------------------


def torch_library() -> Any:
    try:
        import torch  # noqa: PLC0415
    except ImportError as error:
        raise MissingDependencyError("PyTorch", EXTRA) from error
    return torch


def transformers_library() -> Any:
    torch_library()
    try:
        import transformers  # noqa: PLC0415
    except ImportError as error:
        raise MissingDependencyError("transformers", EXTRA) from error
    return transformers


def device_for(wanted: Device, who: object) -> Any:
    """The device of that name, "auto" the fastest there is; the log says which."""
    torch = torch_library()
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted != "auto" and not there.get(wanted):
        raise ConfigurationError(
            f"device={shown(wanted)} is not here. Use one of {[name for name in there if there[name]]}."
        )
    name = next(name for name in there if there[name]) if wanted == "auto" else wanted
    _log.info("%s runs on %s", type(who).__name__, name)
    return torch.device(name)


# --- training -------------------------------------------------------------------------------------------------------


def held_out(rows: int, share: float, seed: int) -> tuple[Rows, Rows]:
    """Row numbers to train on and to watch the error on, in random order."""
    order = np.random.default_rng(seed).permutation(rows)
    watched = min(max(1, round(share * rows)), rows - 1)
    return order[watched:], order[:watched]


def train(
    weights: Tensors,
    plan: Training,
    *,
    batches: Callable[[np.random.Generator], Sequence[Rows]],
    loss: Callable[[Rows], Any],
    error: Callable[[], float],
    progress: Progress,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Change `weights` in place to those of the epoch with the least error; at worst they stay as they are.

    Each epoch draws from its own seed, so that training that goes on from a checkpoint ends with the same weights.
    """
    optimizer = _optimizer(weights, plan)
    begin = checkpoint.read(weights, optimizer) if checkpoint else None
    epoch, best, least, best_epoch = begin or (0, _copied(weights), error(), -1)
    while epoch < plan.epochs and epoch - best_epoch <= plan.patience:
        with _seeded(plan.seed, epoch):
            todo = batches(np.random.default_rng([plan.seed, epoch]))
            for done, rows in enumerate(todo):
                left = 1.0 - (epoch + done / len(todo)) / plan.epochs
                for group in optimizer.param_groups:
                    group["lr"] = group["first"] * left
                optimizer.zero_grad()
                loss(rows).backward()
                optimizer.step()
                progress("training", epoch * len(todo) + done + 1, plan.epochs * len(todo))
        if (found := error()) < least:
            best, least, best_epoch = _copied(weights), found, epoch
        epoch += 1
        if checkpoint:
            checkpoint.write(weights, optimizer, (epoch, best, least, best_epoch))
    with torch_library().no_grad():
        for name, weight in weights.items():
            weight.copy_(best[name])
    if checkpoint:
        checkpoint.remove()


def _optimizer(weights: Tensors, plan: Training) -> Any:
    return torch_library().optim.AdamW(
        [
            {"params": [weight], "first": plan.head_rate if name.startswith("head") else plan.rate}
            for name, weight in weights.items()
        ],
        lr=plan.rate,
        weight_decay=plan.decay,
    )


@dataclass(frozen=True)
class Checkpoint:
    """Training's state after an epoch, in one safetensors file.

    Args:
        of: What is trained on what, as a hash: nothing else may go on from it.
    """

    file: Path
    of: str

    def write(self, weights: Tensors, optimizer: Any, state: tuple[int, Tensors, float, int]) -> None:
        from safetensors.torch import save_file  # noqa: PLC0415 - comes with transformers

        epoch, best, least, best_epoch = state
        tensors = {f"best.{name}": tensor for name, tensor in best.items()}
        for name, weight in weights.items():
            tensors[f"now.{name}"] = weight.detach().contiguous()
            tensors |= {f"{part}.{name}": value for part, value in optimizer.state[weight].items()}
        facts = {"epoch": epoch, "least": least, "best_epoch": best_epoch, "of": self.of}
        partial = self.file.with_name(self.file.name + ".partial")
        self.file.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, partial, {"training": json.dumps(facts)})
        partial.replace(self.file)

    def read(self, weights: Tensors, optimizer: Any) -> tuple[int, Tensors, float, int] | None:
        from safetensors import SafetensorError, safe_open  # noqa: PLC0415

        if not self.file.is_file():
            return None
        try:
            with safe_open(self.file, "pt") as found:
                facts = json.loads((found.metadata() or {})["training"])
                tensors = {name: found.get_tensor(name) for name in found.keys()}  # noqa: SIM118 - it is no mapping
        except (SafetensorError, KeyError, ValueError) as error:
            raise ConfigurationError(f"checkpoint={str(self.file)!r} is no checkpoint ({error}). Delete it.") from error
        if facts["of"] != self.of:
            raise ConfigurationError(
                f"checkpoint={str(self.file)!r} is of other data or settings. Delete it, or name another file."
            )
        with torch_library().no_grad():
            for name, weight in weights.items():
                weight.copy_(tensors[f"now.{name}"])
                optimizer.state[weight] = {
                    part: tensors[f"{part}.{name}"].to(weight.device if part != "step" else "cpu")
                    for part in ("step", "exp_avg", "exp_avg_sq")
                }
        best = {name: tensors[f"best.{name}"].to(weight.device) for name, weight in weights.items()}
        return facts["epoch"], best, facts["least"], facts["best_epoch"]

    def remove(self) -> None:
        self.file.unlink(missing_ok=True)


def checkpoint_of(file: Path | None, data: Outcomes, settings: Mapping[str, Any]) -> Checkpoint | None:
    """The checkpoint in `file` of training with these JSON `settings` on `data`; None without a file."""
    if file is None:
        return None
    digest = hashlib.sha256(json.dumps([list(data.texts), list(data.models), dict(settings)]).encode())
    digest.update(np.ascontiguousarray(data.scores, np.float64).tobytes())
    return Checkpoint(file, digest.hexdigest())


def _copied(weights: Tensors) -> Tensors:
    return {name: weight.detach().clone() for name, weight in weights.items()}


@contextmanager
def _seeded(seed: int, epoch: int) -> Iterator[None]:
    """PyTorch's global random numbers from a known start, put back after: dropout draws from nothing else."""
    torch = torch_library()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(1_000_003 * seed + epoch)
        yield


# --- transformers' networks, split into a frozen and a trained part --------------------------------------------------


class _Enough(Exception):  # noqa: N818 - it is no error
    """The frozen layers have done their part."""


class Split:
    """A network whose lower layers run once for each text and whose `trained` last ones run in every epoch.

    Works for each of transformers' networks that keeps its layers in one `ModuleList` and hands hidden states on as the
    first argument. The frozen part's output is kept in float16: two bytes x tokens x width for each text.
    """

    def __init__(self, network: Any, trained: int) -> None:
        torch = torch_library()
        lists = [part for part in network.modules() if isinstance(part, torch.nn.ModuleList)]
        wanted = network.config.num_hidden_layers
        found = next((part for part in lists if len(part) == wanted), None)
        if found is None:
            raise ConfigurationError(f"{type(network).__name__} does not show its layers; use another network.")
        if not 1 <= trained <= wanted:
            raise ConfigurationError(f"trainable_layers={trained} of {wanted} layers: choose from 1 to {wanted}.")
        self.network, self._list, self.device = network, found, network.device
        self._layers = list(found)
        self.frozen = wanted - trained
        network.requires_grad_(False).eval()
        self.trained = self._layers[self.frozen :]
        for layer in self.trained:
            layer.requires_grad_(True)

    def weights(self) -> Tensors:
        """The trained layers' parameters by name."""
        return {f"{at}.{name}": p for at, layer in enumerate(self.trained) for name, p in layer.named_parameters()}

    def train(self, mode: bool) -> None:
        """Switch dropout in the trained layers on or off."""
        for layer in self.trained:
            layer.train(mode)

    def below(self, tokens: Sequence[Sequence[int]], size: int, progress: Progress) -> list[Any]:
        """What the trained layers are given for each text: float16 on the CPU, shape `(its tokens, width)`."""
        torch, kept = torch_library(), [None] * len(tokens)
        lengths = np.array([len(its_tokens) for its_tokens in tokens])

        def keep(_layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            hidden = (args[0] if args else kwargs["hidden_states"]).to("cpu", torch.float16)
            for at, row in enumerate(rows):
                kept[row] = hidden[at, : lengths[row]].clone()
            raise _Enough

        done, hook = 0, self.trained[0].register_forward_pre_hook(keep, with_kwargs=True)
        try:
            for rows in by_length(lengths, np.arange(len(tokens)), size):
                ids, mask = (torch.tensor(part, device=self.device) for part in padded([tokens[row] for row in rows]))
                with torch.no_grad(), suppress(_Enough):
                    self.network(input_ids=ids, attention_mask=mask)
                done += len(rows)
                progress("reading", done, len(tokens))
        finally:
            hook.remove()
        return kept

    def above(self, kept: Sequence[Any]) -> tuple[Any, Any]:
        """The last hidden states, shape `(batch, tokens, width)`, and the mask, from what `below` gave for texts."""
        torch = torch_library()
        lengths = torch.tensor([len(one) for one in kept], device=self.device)
        mask = (torch.arange(int(lengths.max()), device=self.device) < lengths[:, None]).long()
        hidden = torch.nn.utils.rnn.pad_sequence(list(kept), batch_first=True).to(self.device, torch.float32)

        def put(_layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            return (hidden, *args[1:]), {name: value for name, value in kwargs.items() if name != "hidden_states"}

        hook = self.trained[0].register_forward_pre_hook(put, with_kwargs=True)
        self._use(self.trained)
        try:
            return self.network(input_ids=torch.zeros_like(mask), attention_mask=mask).last_hidden_state, mask
        finally:
            self._use(self._layers)
            hook.remove()

    def _use(self, layers: Sequence[Any]) -> None:
        """Make the network run these layers alone."""
        self._list._modules = {str(at): layer for at, layer in enumerate(layers)}  # noqa: SLF001
        self.network.config.num_hidden_layers = len(layers)


def train_split(
    split: Split,
    weights: Tensors,
    plan: Training,
    lengths: npt.NDArray[np.intp],
    *,
    loss: Callable[[Rows], Any],
    progress: Progress,
    checkpoint: Checkpoint | None,
) -> None:
    """`train`, in batches of alike lengths, and with dropout but where the error is measured.

    Args:
        lengths: Tokens of each text.
    """
    rows, held = held_out(len(lengths), plan.watched, plan.seed)

    def error() -> float:
        split.train(False)
        with torch_library().no_grad():
            total = sum(float(loss(part)) * len(part) for part in by_length(lengths, held, plan.batch))
        split.train(True)
        return total / len(held)

    def batches(draw: np.random.Generator) -> list[Rows]:
        parts = by_length(lengths, draw.permutation(rows), plan.batch)
        return [parts[at] for at in draw.permutation(len(parts))]

    train(weights, plan, batches=batches, loss=loss, error=error, progress=progress, checkpoint=checkpoint)
    split.train(False)


def hub_folder(repository: str) -> Path:
    """The folder of a repository's newest snapshot: the hub's local cache first, so that a warm start needs no network.

    Raises:
        WeightsError: It is neither cached nor to be downloaded.
    """
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - slow to import, and seldom needed

    wanted = ["*.json", "*.safetensors", "*.model", "*.txt"]  # no second copies of the weights in other formats
    try:
        try:
            return Path(snapshot_download(repository, allow_patterns=wanted, local_files_only=True))
        except OSError:
            return Path(snapshot_download(repository, allow_patterns=wanted))
    except Exception as error:  # HTTP, proxy, disk and validation errors share no base
        raise WeightsError(
            f"{repository!r} is no folder, and could not be downloaded from the hub ({type(error).__name__}). "
            "Pass a folder, or let this machine reach huggingface.co."
        ) from error


@contextmanager
def quiet_loading(transformers: Any) -> Iterator[None]:
    """Without transformers' progress bars on the terminal."""
    shown = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers.utils.logging.enable_progress_bar()

"""Parts of a network that are not trained, for the whole run or for its first epochs."""

from torch import nn

from seg_scse.config.schema import FineTuneConfig
from seg_scse.errors import ConfigError
from seg_scse.models.parts import part_of


class Freezing:
    """Keeps the frozen parts of a network as they are: parameters and statistics of normalisation.

    Gates are a part of their own, also those inside of a frozen encoder. Dropout of frozen parts stays on. Make it
    while all parameters that will ever be trained require gradients; those that do not then, never will.

    Args:
        config: the frozen parts, and the epoch from which they are trained too.
        model: the network, without any wrapper.

    Raises:
        ConfigError: nothing would be left to train.
    """

    def __init__(self, config: FineTuneConfig, model: nn.Module) -> None:
        self.parts = frozenset(config.freeze)
        self.until = config.unfreeze_epoch
        trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._parameters = [p for name, p in trainable.items() if part_of(name) in self.parts]
        self._trainable = sum(parameter.numel() for parameter in trainable.values())
        # Whatever its class, a layer that has running statistics changes them in training mode.
        self._layers = [
            module
            for name, module in model.named_modules()
            if module._buffers.get("running_mean") is not None and part_of(name) in self.parts
        ]
        self._frozen = False
        if self.parts and len(self._parameters) == len(trainable):
            left = ", ".join(sorted({part_of(name) for name in trainable}))
            raise ConfigError(
                f"`finetune.freeze` = {list(config.freeze)} leaves nothing to train: this network has the trainable "
                f"parts {left}. Leave one of them out."
            )

    def apply(self, epoch: int) -> bool:
        """Freeze or release the parts for an epoch, counted from 0.

        Returns:
            whether that changed which parameters are trained, so that DistributedDataParallel must wrap the network
            anew.
        """
        frozen = bool(self.parts) and (self.until is None or epoch < self.until)
        changed = frozen != self._frozen
        self._frozen = frozen
        if changed:
            for parameter in self._parameters:
                parameter.requires_grad_(not frozen)
        return changed

    def note(self) -> str:
        """Say what is frozen for how long, and how many numbers are trained until then; nothing where nothing is."""
        if not self.parts:
            return ""
        long = "for the whole run" if self.until is None else f"for {self.until} epoch{'s' * (self.until > 1)}"
        frozen = sum(parameter.numel() for parameter in self._parameters)
        return (
            f"frozen: {', '.join(sorted(self.parts))} {long}; {self._trainable - frozen:,} of {self._trainable:,} "
            "parameters are trained"
        )

    def train(self, network: nn.Module) -> None:
        """Set training mode, but leave the statistics of what is frozen alone.

        Args:
            network: the network, or a wrapper around it.
        """
        network.train()
        if self._frozen:
            for layer in self._layers:
                layer.eval()

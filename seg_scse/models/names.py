"""The names of a network's sites, and what a user means by them."""

from collections.abc import Sequence
from dataclasses import dataclass

from seg_scse.attention.attach import Site
from seg_scse.config.loading import nearest
from seg_scse.errors import ConfigError

GROUPS = ("encoder", "bottleneck", "skip", "decoder", "decoder_in", "residual")
"""Names that mean all sites of a kind."""

JOINING = "unet, manet, linknet, fpn, pan and classic_unet"
"""Architectures in which single modules of the decoder join a skip and a map of the decoder."""


@dataclass(frozen=True)
class Sites:
    """The sites of a network by name.

    Attributes:
        usable: the sites that can carry the gate.
        hidden: names of sites that exist but cannot: encoder stages that no single module makes, or, for a gate with a
            signal, skips without one.
        deepest: name of the encoder stage that is the bottleneck.
        signal: whether these are sites for a gate that looks at a second map.
    """

    usable: dict[str, Site]
    hidden: tuple[str, ...]
    deepest: str
    signal: bool = False

    def members(self, name: str) -> list[str]:
        """Return the names of the sites that a name means: itself, or all of its group."""
        return [site for site in (*self.usable, *self.hidden) if site == name or site.startswith(f"{name}.")]

    def select(self, names: Sequence[str]) -> list[Site]:
        """Return the sites that `names` mean, in that order and each once; a name is a site or a group of sites.

        Raises:
            ConfigError: a name means no usable site; all usable ones are listed.
        """
        chosen: dict[str, Site] = {}
        for name in names:
            members = self.members(name)
            if not members or set(members) & set(self.hidden):
                raise self._without_signal(name) if self.signal else self._refusal(name, members)
            chosen |= {site: self.usable[site] for site in members}
        if "bottleneck" in chosen:
            chosen.pop(self.deepest, None)
        return list(chosen.values())

    def _refusal(self, name: str, members: Sequence[str]) -> ConfigError:
        if members:
            hidden = ", ".join(site for site in members if site in self.hidden)
            reason = f"no single module of the encoder makes the feature of {hidden} for all that use it."
        else:
            hint = "" if name.split(".")[0] in GROUPS else nearest(name, GROUPS)
            reason = f"the network uses no feature map of this name{hint or '.'}"
        return ConfigError(
            f"site `{name}` is not available in this network: {reason} "
            f"Usable sites: {', '.join(self.usable)}; a name without its number means all of the kind."
        )

    def _without_signal(self, name: str) -> ConfigError:
        have = f"Sites that have one: {', '.join(self.usable)}." if self.usable else "This network has no such site."
        return ConfigError(
            f"site `{name}` has no signal: this gate needs a skip that one module of the decoder joins with a map of "
            f"the decoder. {have} Architectures with such skips: {JOINING}."
        )

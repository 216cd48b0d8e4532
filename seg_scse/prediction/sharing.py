"""Who predicts what, where several processes or several calls share the work: decided by position, without a master.

An image belongs to one process. So does a scene where there are as many as processes; what is left over of the scenes
belongs to all, and each process predicts a range of its strips.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """The part of one process.

    Attributes:
        shard: number of this call, from 0.
        shards: calls that share the work, such as the tasks of a job array.
        rank: number of the process in this call, from 0.
        world: processes of each call.
    """

    shard: int = 0
    shards: int = 1
    rank: int = 0
    world: int = 1

    @property
    def count(self) -> int:
        """Processes of all calls together."""
        return self.shards * self.world

    @property
    def index(self) -> int:
        """Number of this process among all of them, from 0."""
        return self.shard * self.world + self.rank

    @property
    def label(self) -> str:
        """Number (from 1) and count of the processes, such as `2/4`."""
        return f"{self.index + 1}/{self.count}"

    def divide(self, items: Sequence[T], is_scene: Callable[[T], bool]) -> tuple[list[T], list[T]]:
        """Divide items among the processes.

        Args:
            items: the same, in the same order, for all processes.
            is_scene: whether an item is read by windows, so that it can be shared.

        Returns:
            the items that all processes share, and those that are this process's alone.
        """
        if self.count == 1:
            return [], list(items)
        scenes = [item for item in items if is_scene(item)]
        images = [item for item in items if not is_scene(item)]
        whole = len(scenes) - len(scenes) % self.count
        return scenes[whole:], scenes[:whole][self.index :: self.count] + images[self.index :: self.count]

    def strips(self, count: int) -> range:
        """Return the strips of a shared scene that are this process's: one range, of equal lengths but for one."""
        return range(count * self.index // self.count, count * (self.index + 1) // self.count)

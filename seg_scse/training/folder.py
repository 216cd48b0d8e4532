"""The folder of a run: which one it is, what lies in it, and what was noted when it was resumed."""

import itertools
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seg_scse import checkpoint, distributed, provenance
from seg_scse.config.printing import to_yaml
from seg_scse.config.schema import Config
from seg_scse.errors import ConfigError
from seg_scse.files import require_writable, write_text

CONFIG, FACTS, SPLITS = "config.yaml", "run.json", "splits.csv"


def claim(name: str, out: Path | None) -> tuple[Path, bool]:
    """Return the run folder, which exists and can be written, and whether it was made just now.

    Args:
        name: name of the run, for the folder `runs/<name>`, with a number where that is taken.
        out: the folder to use instead; None chooses.

    Raises:
        WriteError: it cannot be made or written.
    """
    if out is not None:
        created = not out.exists()
        require_writable(out)
        return out, created
    for number in itertools.count(1):
        folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)  # fails for all but one of several runs that start at the same moment
        except FileExistsError:
            continue
        except OSError:
            require_writable(folder)  # says why not
        return folder, True
    raise AssertionError("unreachable")


def claim_together(name: str, out: Path | None) -> tuple[Path, bool]:
    """Return on every process what `claim` returned on the main one."""
    claimed = claim(name, out) if distributed.is_main() else None
    return distributed.from_main(claimed) or (Path(), False)


@contextmanager
def leaving_nothing(folder: Path, created: bool, unless: Path | None = None) -> Iterator[None]:
    """Remove a folder that was made just now if what follows fails.

    Args:
        folder: the folder.
        created: it was made just now; else it stays.
        unless: a file that keeps the folder where it exists.
    """
    try:
        yield
    except BaseException:
        if created and distributed.is_main() and not (unless is not None and unless.exists()):
            shutil.rmtree(folder, ignore_errors=True)
        raise


def require_out(out: Path | None) -> None:
    """Refuse a run that torchrun would start again, and that could not find what it had done.

    Raises:
        ConfigError: `torchrun --max-restarts` without `--out`.
    """
    if out is None and distributed.max_restarts() > 0:
        raise ConfigError(
            f"torchrun --max-restarts {distributed.max_restarts()} without --out: a restart would begin anew, in "
            f"another folder. Name the folder: --out DIR; a restart then goes on from its last checkpoint."
        )


def has_run(folder: Path) -> bool:
    """Tell whether a folder holds a run with a checkpoint."""
    return (folder / CONFIG).is_file() and (folder / checkpoint.LAST).is_file()


def is_restarted(folder: Path) -> bool:
    """Tell whether this is the same command again, by torchrun or SLURM, for a run that has a checkpoint."""
    same_job = distributed.job() is not None and facts_of(folder).get("job") == distributed.job()
    return has_run(folder) and (distributed.restarts() > 0 or same_job)


def facts_of(folder: Path) -> dict[str, Any]:
    """Return what `run.json` holds; nothing where it is missing or no JSON."""
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write `run.json`."""
    write_text(folder / FACTS, json.dumps(facts, indent=2) + "\n")


def write_config(folder: Path, config: Config, reasons: Mapping[str, str]) -> None:
    """Write `config.yaml`: the configuration with every key, and a comment above those that have a reason."""
    header = (
        f"{config.name}: the configuration of this run, fully resolved.\nAgain: train.py --config {folder}/{CONFIG}"
    )
    write_text(folder / CONFIG, to_yaml(config, reasons, header))


def note_resume(folder: Path, step: int, steps: int, changes: Sequence[str], samples: int) -> None:
    """Add a line to the list `resumed` of `run.json`, and write there where the run ends.

    Args:
        folder: the run folder.
        step: optimizer steps done before.
        steps: optimizer steps of the whole run.
        changes: what is not as it was, as texts.
        samples: samples per process and forward pass from now on.
    """
    facts = facts_of(folder)
    entry = {
        "when": provenance.now(),
        "step": step,
        "changes": list(changes),
        "processes": distributed.world_size(),
        "samples": samples,
        "restarts": distributed.restarts(),
        "versions": provenance.versions(),
    }
    write_facts(folder, {**facts, "steps": steps, "resumed": [*facts.get("resumed", []), entry]})

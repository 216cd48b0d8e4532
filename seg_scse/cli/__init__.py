"""The command line: arguments to calls, errors to exit codes."""

import argparse
import contextlib
import json
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from seg_scse.cli.arguments import build_parser
from seg_scse.cli.options import WORDS
from seg_scse.errors import SegScseError, is_out_of_memory

OVERRIDE = re.compile(r"[a-z_]+(\.[a-z_]+)+=")
"""How an override starts, in contrast to a sample id or a file."""


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse options anywhere; what is left over must be `section.key=value` overrides, or further runs."""
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    for name, values in vars(options).items():
        if isinstance(values, list):  # an option of many values also takes what follows it
            is_override = _is_override if name == WORDS else OVERRIDE.match  # ids may hold `=`
            rest += [str(value) for value in values if is_override(str(value))]
            setattr(options, name, [value for value in values if not is_override(str(value))])
    if hasattr(options, WORDS):  # argparse takes those before the first option only
        words = [text for text in rest if not text.startswith("-") and not _is_override(text)]
        setattr(options, WORDS, [Path(word) for word in (*getattr(options, WORDS), *words)])
        rest = [text for text in rest if text not in words]
    for text in rest:
        if text.startswith("-") or "=" not in text:
            parser.error(f"unknown argument `{text}`. Overrides are written section.key=value; see --help.")
    options.overrides = rest
    return options


def _is_override(text: str) -> bool:
    """Tell an override, even a misspelled one, from a run, whose name may hold `=` too."""
    return OVERRIDE.match(text) is not None or ("=" in text and "/" not in text and not Path(text).exists())


def _run(options: argparse.Namespace) -> int:
    if not options.json:
        result = options.action(options)
    else:
        with contextlib.redirect_stdout(sys.stderr):
            result = options.action(options)
        if result is not None:
            print(json.dumps(result))
    return int((result or {}).get("exit_code", 0))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 internal, 2 usage, 3 data, 4 diverged, 5 write, 6 checkpoint.

    Args:
        arguments: the words after the program's name; default: those of the process.
    """
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(options)
    except SegScseError as error:
        if options.debug:
            traceback.print_exc()
        print(f"error: {error}" if error.exit_code < 128 else error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if options.debug:
            traceback.print_exc()
        if is_out_of_memory(error):
            print("error: out of memory. Halve trainer.batch_size or trainer.crop, or use bf16.", file=sys.stderr)
        else:
            text = f"{type(error).__name__}: {error}"
            print(f"internal error: {text}\nThis is a defect: run again with --debug and report it.", file=sys.stderr)
        return 1

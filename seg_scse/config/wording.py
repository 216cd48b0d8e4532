"""Numbers with their noun and verb, for messages."""


def counted(number: int, noun: str, verb: str = "") -> str:
    """Return `1 image`, `2 images`, and with a verb of the plural `1 image has`, `2 images have`.

    Args:
        number: how many.
        noun: in the singular; its plural takes an s.
        verb: in the plural.
    """
    if number == 1:
        verb = {"are": "is", "have": "has", "": ""}.get(verb, f"{verb}s")
    else:
        noun += "s"
    return f"{number} {noun} {verb}".rstrip()

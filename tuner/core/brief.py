"""Values of unknown size and depth as a short text for a message: never more work than the text is long."""

import reprlib


class _Brief(reprlib.Repr):
    """`repr` that looks at a few elements and levels only, and prints no number of thousands of digits."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = 6
        self.maxstring = self.maxother = self.maxlong = max(20, length)

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to print integers of more than 4300 digits, and takes long for those of thousands.
        return repr(x) if x.bit_length() <= 512 else f"<an integer of {x.bit_length()} bits>"


def brief(value: object, length: int = 60) -> str:
    """A value as text of one line and at most `length` characters, whatever it holds and however deep."""
    text = _Brief(length).repr(value)
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= length else text[: length - 3] + "..."


def printable(text: str, length: int = 20_000) -> str:
    """A text from outside that may be stored and printed: no control characters, no lone surrogates.

    Line ends and tabs stay; what is longer than `length` is cut.
    """
    cut = text if len(text) <= length else text[: length - 3] + "..."
    if cut.isprintable():
        return cut
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in cut)

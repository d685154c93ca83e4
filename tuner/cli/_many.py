"""An option of many values: `--spaces *.json.gz` as well as `--spaces a --spaces b`."""

from typing import Any, ClassVar

import typer.core


class ManyValues(typer.core.TyperCommand):
    """A command whose options named in `many` take every value up to the next option."""

    many: ClassVar[frozenset[str]] = frozenset({"--spaces", "--history"})

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Writes the option before each of its values, then parses as usual."""
        spread: list[str] = []
        option = None
        for word in args:
            if word.startswith("-"):
                option = word if word in self.many else None
                if option is None:
                    spread.append(word)
            elif option is not None:
                spread += [option, word]
            else:
                spread.append(word)
        return super().parse_args(ctx, spread)

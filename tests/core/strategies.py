"""Random expressions and small random spaces."""

from hypothesis import strategies as st

from tuner.core.space import Constraint, Parameter, SearchSpace

INTEGERS = st.sampled_from([-7, -2, -1, 0, 1, 2, 3, 4, 8, 16, 31, 64])
FLOATS = st.sampled_from([-1.5, -0.25, 0.0, 0.1, 0.5, 1.0, 3.0, 1e6])

LITERALS = ["0", "1", "2", "3", "7", "64", "0.5", "-1", "True"]
NUMBER_FORMS = [
    "({n} {arithmetic} {n})", "({n} {arithmetic} {n})", "({leaf} ** {leaf})",
    "(int({leaf}) {shift} int({leaf}))",
    "{pair}({n}, {n})", "{single}({n})", "({n} if {t} else {n})", "(({t}) + ({t}))", "(-{n})", "{leaf}",
]  # fmt: skip
TRUTH_FORMS = [
    "{n} {compare} {n}", "{n} {compare} {n}", "{n} < {n} <= {n}", "{n} {member} ({n}, {leaf}, {n})",
    "({t}) {either} ({t})", "({t}) or ({t}) and ({t})", "not ({t})", "(({t}) if ({t}) else ({t}))",
]  # fmt: skip
TEXT_FORMS = ["{s} {equal} {s}", "{s} in ({s}, 'tile')"]
# Powers and shifts take leaves only: of anything larger they would nearly always be too large.
WORDS = {
    "arithmetic": ["+", "-", "*", "*", "//", "/", "%"],
    "shift": ["<<", ">>"],
    "pair": ["min", "max", "ceildiv"],
    "single": ["abs", "int", "log2"],
    "compare": ["<", "<=", "==", "!=", ">", ">="],
    "equal": ["==", "!="],
    "member": ["in", "not in"],
    "either": ["and", "or"],
}


@st.composite
def expressions(draw: st.DrawFn, names: list[str], texts: list[str], depth: int, truth: bool = False) -> str:
    """A number (or a truth value) computed from named numbers and named texts."""

    def number(depth: int) -> str:
        return fill(draw(st.sampled_from(NUMBER_FORMS)), depth) if depth > 0 else leaf()

    def leaf() -> str:
        return draw(st.sampled_from([*names, *names, *LITERALS]))

    def condition(depth: int) -> str:
        forms = TRUTH_FORMS if depth > 0 else TRUTH_FORMS[:4]
        return fill(draw(st.sampled_from([*forms, *(TEXT_FORMS if texts else [])])), depth)

    def fill(form: str, depth: int) -> str:
        for name, words in WORDS.items():
            form = form.replace(f"{{{name}}}", draw(st.sampled_from(words)), 1)
        while "{" in form:
            start, _, rest = form.partition("{")
            what, _, end = rest.partition("}")
            inner = {
                "n": lambda: number(depth - 1),
                "t": lambda: condition(depth - 1),
                "s": lambda: draw(st.sampled_from([*texts, "'row'", "'col'"])),
                "leaf": leaf,
            }[what]()
            form = start + inner + end
        return form

    return condition(depth) if truth else number(depth)


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """Two to four parameters of up to five values of any type, up to four constraints."""
    parameters, names, texts = [], [], []
    for name in ("A", "B", "C", "D")[: draw(st.integers(2, 4))]:
        kind = draw(st.sampled_from(["int", "int", "int", "float", "bool", "text", "mixed"]))
        values = {
            "int": st.lists(INTEGERS, min_size=1, max_size=5, unique=True),
            "float": st.lists(FLOATS, min_size=1, max_size=4, unique=True),
            "bool": st.sampled_from([[False, True], [True]]),
            "text": st.lists(st.sampled_from(["row", "col", "tile"]), min_size=1, max_size=3, unique=True),
            "mixed": st.sampled_from([[1, 2.5, 4], [True, 2, 8], [0, 0.5]]),
        }[kind]
        parameters.append(Parameter(name, tuple(draw(values))))
        (texts if kind == "text" else names).append(name)
    constants = {"m": draw(INTEGERS), "alpha": draw(FLOATS), "order": draw(st.sampled_from(["row", "col"]))}
    constraints = [
        Constraint(f"c{i}", draw(expressions([*names, "m", "alpha"], [*texts, "order"], 1, truth=True)))
        for i in range(draw(st.integers(0, 4)))
    ]
    return SearchSpace(parameters, constraints, constants)

"""The activation of a result as TVMScript, for programs of any target."""


def activated(name: str, value: str, kind: str = "float32") -> str:
    """An expression for an activation of an expression.

    Args:
        name: of `tuner.core.activations.ACTIVATIONS`; empty for none.
        value: TVMScript, of type `kind`; it is repeated.
        kind: `float32`, or `int32` where it is ReLU or none.
    """
    zero, three, six = (f"T.{kind}({number})" for number in (0, 3, 6))
    match name:
        # Not T.max and T.min: of a NaN and 0 they are 0. In this order a NaN stays one.
        case "relu":
            return f"T.Select({value} < {zero}, {zero}, {value})"
        case "relu6":
            return f"T.Select({value} < {zero}, {zero}, T.Select({value} > {six}, {six}, {value}))"
        case "silu":
            return f"({value}) / (T.float32(1) + T.exp({zero} - ({value})))"
        case "hardswish":
            moved = f"({value} + {three})"
            gate = f"T.Select({moved} < {zero}, {zero}, T.Select({moved} > {six}, {six}, {moved}))"
            return f"({value}) * ({gate} * T.float32({1 / 6!r}))"
    return value

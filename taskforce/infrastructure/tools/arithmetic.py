"""Evaluator of arithmetic without `eval`: parses, then computes only allow-listed operations.

Exact numbers are fractions; they become floating point only where a function leaves the rationals. Every number that
comes up has a bounded size and every expression a bounded length, so that no expression takes more than milliseconds.
"""

import ast
import math
import operator
import re
from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction

from taskforce.infrastructure.tools.truncation import shortened

MAX_LENGTH = 1_000
MAX_DEPTH = 60
MAX_BITS = 10_000
MAX_FACTORIAL = 1_000
MAX_PLACES = 100
MAX_QUOTED = 40
EXACT_DIGITS = 60
ROUNDED_DIGITS = 20

Number = Fraction | float

_ALLOWED = re.compile(r"[0-9A-Za-z_.,+\-*/%()\[\] ]*")
_LITERAL = re.compile(r"(\d[\d_]*)?(\.\d*)?([eE][+-]?\d{1,4})?")
_RUN_TOGETHER = re.compile(r"[\d.](?![eE][+-]?\d)[A-Za-z]")
_SIGNS = str.maketrans(
    {
        "\N{MULTIPLICATION SIGN}": "*",
        "\N{MIDDLE DOT}": "*",
        "\N{DIVISION SIGN}": "/",
        "\N{MINUS SIGN}": "-",
        "\N{EN DASH}": "-",
        "\N{GREEK SMALL LETTER PI}": "pi",
    }
)


class ArithmeticRefusedError(Exception):
    """Reports an expression that is not arithmetic, too large, or has no value; the text says which."""


def evaluate(expression: str) -> Number:
    """Evaluates an expression.

    Args:
        expression: For example `2 * (3 + 4) ** 2`.

    Returns:
        A fraction where the result is exact, else a finite float.

    Raises:
        ArithmeticRefusedError: It cannot or must not be computed.
    """
    if len(expression) > MAX_LENGTH:
        raise ArithmeticRefusedError(f"The expression is longer than {MAX_LENGTH} characters.")
    source = " ".join(expression.translate(_SIGNS).split())
    if "^" in source:
        raise ArithmeticRefusedError("Write powers with **, not with ^.")
    if not _ALLOWED.fullmatch(source) or _RUN_TOGETHER.search(source):
        raise ArithmeticRefusedError("The expression has characters that are not arithmetic.")
    try:
        return _Evaluation(source).value()
    except ZeroDivisionError as error:
        raise ArithmeticRefusedError("Division by zero.") from error
    except OverflowError as error:
        raise ArithmeticRefusedError("The result is too large.") from error


def written(number: Number) -> str:
    """Formats a number as people write it: an integer, an exact decimal, or rounded where it never ends."""
    if isinstance(number, float):
        return format(number, ".15g")
    if number.denominator == 1:
        return str(number.numerator)
    with localcontext() as precision:
        precision.prec = EXACT_DIGITS
        decimal = Decimal(number.numerator) / Decimal(number.denominator)
        if Fraction(decimal) != number:
            precision.prec = min(EXACT_DIGITS, ROUNDED_DIGITS + max(0, decimal.adjusted()))
            decimal = Decimal(number.numerator) / Decimal(number.denominator)
    return _without_trailing_zeros(decimal)


def _without_trailing_zeros(decimal: Decimal) -> str:
    plain = -EXACT_DIGITS <= decimal.adjusted() <= EXACT_DIGITS
    mantissa, mark, exponent = format(decimal, "f" if plain else "e").partition("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}{mark}{exponent}"


class _Evaluation:
    """Evaluates one expression."""

    def __init__(self, source: str) -> None:
        self._source = source

    def value(self) -> Number:
        try:
            tree = ast.parse(self._source, mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ArithmeticRefusedError("The expression cannot be read; check parentheses and operators.") from error
        return self._number(tree.body, 0)

    def _number(self, node: ast.expr, depth: int) -> Number:
        if depth > MAX_DEPTH:
            raise ArithmeticRefusedError(f"The expression is nested more than {MAX_DEPTH} levels deep.")
        match node:
            case ast.Constant():
                return self._literal(node)
            case ast.Name(id=name) if name in _CONSTANTS:
                return _CONSTANTS[name]
            case ast.UnaryOp(op=ast.USub()):
                return -self._number(node.operand, depth + 1)
            case ast.UnaryOp(op=ast.UAdd()):
                return self._number(node.operand, depth + 1)
            case ast.BinOp():
                return self._binary(node, depth)
            case ast.Call(func=ast.Name(id=name), keywords=[]) if name in _FUNCTIONS:
                return self._called(name, node.args, depth)
            case _:
                raise ArithmeticRefusedError(f"{self._quoted(node)} is not arithmetic that is known here.")

    def _literal(self, node: ast.Constant) -> Number:
        text = self._text(node)
        if not _LITERAL.fullmatch(text) or isinstance(node.value, bool | complex | str | None):
            raise ArithmeticRefusedError(f"{self._quoted(node)} is not a number that is known here.")
        # Before the fraction is built: a literal of six characters may stand for tens of thousands of digits.
        if "e" in text.lower() and abs(int(re.split("[eE]", text)[1])) * math.log2(10) > MAX_BITS:
            raise ArithmeticRefusedError(f"{self._quoted(node)} is too large.")
        return _bounded(Fraction(text.replace("_", "")))

    def _binary(self, node: ast.BinOp, depth: int) -> Number:
        """Evaluates a chain such as `1 + 2 + 3` in a loop, for its length must not count as depth."""
        chain = [node]
        while isinstance(first := chain[-1].left, ast.BinOp):
            chain.append(first)
        value = self._number(first, depth + 1)
        for link in reversed(chain):
            value = self._combined(link, value, self._number(link.right, depth + 1))
        return value

    def _combined(self, node: ast.BinOp, left: Number, right: Number) -> Number:
        if isinstance(node.op, ast.Pow):
            return _power(left, right)
        operation = _OPERATORS.get(type(node.op))
        if operation is None:
            raise ArithmeticRefusedError(f"{self._quoted(node)} uses an operator that is not known here.")
        return _bounded(operation(left, right))

    def _called(self, name: str, arguments: Sequence[ast.expr], depth: int) -> Number:
        numbers: list[Number] = []
        for argument in arguments:
            parts = argument.elts if isinstance(argument, ast.List | ast.Tuple) else [argument]
            numbers += [self._number(part, depth + 1) for part in parts]
        function, least, most = _FUNCTIONS[name]
        if not least <= len(numbers) <= most:
            raise ArithmeticRefusedError(f"{name} does not take {len(numbers)} numbers.")
        try:
            return _bounded(function(*numbers))
        except (ValueError, TypeError) as error:
            raise ArithmeticRefusedError(f"{name} has no value for {self._quoted(arguments[0])}.") from error

    def _quoted(self, node: ast.expr) -> str:
        return shortened(self._text(node), MAX_QUOTED)

    def _text(self, node: ast.expr) -> str:
        # The source is one line of ASCII, so the parser's byte offsets are places in it.
        return self._source[node.col_offset : node.end_col_offset]


def _bounded(number: Number) -> Number:
    if isinstance(number, Fraction):
        if max(number.numerator.bit_length(), number.denominator.bit_length()) > MAX_BITS:
            raise ArithmeticRefusedError(f"A number with more than {MAX_BITS} binary digits comes up.")
        return number
    if not math.isfinite(number):
        raise ArithmeticRefusedError("The result is not a finite number.")
    return number


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        return _exact_power(base, exponent.numerator)
    if isinstance(exponent, Fraction) and exponent == Fraction(1, 2) and base >= 0:
        return _sqrt(base)
    result = float(base) ** float(exponent)
    if isinstance(result, complex):
        raise ArithmeticRefusedError("A root of a negative number is not real.")
    return _bounded(result)


def _exact_power(base: Fraction, exponent: int) -> Number:
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    # Before the power is computed: `9**9**9` would take all memory.
    if (bits - 1) * abs(exponent) > MAX_BITS:
        raise ArithmeticRefusedError(f"The power has more than {MAX_BITS} binary digits.")
    return _bounded(base**exponent)


def _sqrt(number: Number) -> Number:
    if isinstance(number, Fraction) and number >= 0:
        root = Fraction(math.isqrt(number.numerator), math.isqrt(number.denominator))
        if root * root == number:
            return root
    return math.sqrt(number)


def _log(number: Number, base: Number | None = None) -> Number:
    if base is not None:
        return _natural(number) / _natural(base)
    return _natural(number)


def _natural(number: Number) -> float:
    # Numerator and denominator may each be beyond what a float holds.
    if isinstance(number, Fraction):
        return math.log(number.numerator) - math.log(number.denominator)
    return math.log(number)


def _log10(number: Number) -> Number:
    if isinstance(number, Fraction):
        return math.log10(number.numerator) - math.log10(number.denominator)
    return math.log10(number)


def _log2(number: Number) -> Number:
    if isinstance(number, Fraction):
        return math.log2(number.numerator) - math.log2(number.denominator)
    return math.log2(number)


def _round(number: Number, places: Number = Fraction(0)) -> Number:
    digits = _whole(places)
    if abs(digits) > MAX_PLACES:
        raise ArithmeticRefusedError(f"round takes at most {MAX_PLACES} places.")
    return Fraction(round(Fraction(number), digits))


def _factorial(number: Number) -> Number:
    whole = _whole(number)
    if whole > MAX_FACTORIAL:
        raise ArithmeticRefusedError(f"factorial takes at most {MAX_FACTORIAL}.")
    return Fraction(math.factorial(whole))


def _gcd(*numbers: Number) -> Number:
    return Fraction(math.gcd(*(_whole(number) for number in numbers)))


def _whole(number: Number) -> int:
    if isinstance(number, Fraction) and number.denominator == 1:
        return number.numerator
    raise ArithmeticRefusedError(f"{shortened(written(number), MAX_QUOTED)} is not a whole number.")


def _floored(number: Number) -> Number:
    return Fraction(math.floor(number))


def _sum(*numbers: Number) -> Number:
    total: Number = Fraction(0)
    for number in numbers:
        total = _bounded(total + number)
    return total


def _floating(function: Callable[..., float]) -> Callable[..., Number]:
    return lambda *numbers: function(*(float(number) for number in numbers))


_MANY = MAX_LENGTH
_CONSTANTS: dict[str, Number] = {"pi": math.pi, "e": math.e}
_OPERATORS: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda left, right: _floored(left / right),
    ast.Mod: operator.mod,
}
_FUNCTIONS: dict[str, tuple[Callable[..., Number], int, int]] = {
    "abs": (abs, 1, 1),
    "ceil": (lambda number: Fraction(math.ceil(number)), 1, 1),
    "exp": (_floating(math.exp), 1, 1),
    "factorial": (_factorial, 1, 1),
    "floor": (_floored, 1, 1),
    "gcd": (_gcd, 1, _MANY),
    "log": (_log, 1, 2),
    "log10": (_log10, 1, 1),
    "log2": (_log2, 1, 1),
    "max": (max, 1, _MANY),
    "min": (min, 1, _MANY),
    "round": (_round, 1, 2),
    "sqrt": (_sqrt, 1, 1),
    "sum": (_sum, 0, _MANY),
    **{
        name: (_floating(getattr(math, name)), 1, 1)
        for name in ("sin", "cos", "tan", "asin", "acos", "atan", "degrees", "radians")
    },
    "atan2": (_floating(math.atan2), 2, 2),
}

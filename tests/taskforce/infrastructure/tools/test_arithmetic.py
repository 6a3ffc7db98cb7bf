"""Arithmetic is exact where it can be, agrees with Python, and refuses quickly what would not end."""

import math
from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from taskforce.infrastructure.tools.arithmetic import ArithmeticRefusedError, evaluate, written
from tests.fixtures.costs import processor_seconds

LONG_SUM = "1+" * 490 + "1"


def cost(expression: str) -> float:
    def work() -> None:
        with suppress(ArithmeticRefusedError):
            written(evaluate(expression))

    return processor_seconds(work)


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("2 - 3 - 4", "-5"),
        ("2 ** 3 ** 2", "512"),
        ("-2 ** 2", "-4"),
        ("+-+3", "-3"),
        ("0.1 + 0.2", "0.3"),
        ("100 * 1.1", "110"),
        (".5 + 5.", "5.5"),
        ("1.5e-3 * 2E3", "3"),
        ("1_000 * 3", "3000"),
        ("1 / 3", "0.33333333333333333333"),
        ("2 / 3", "0.66666666666666666667"),
        ("10**30 / 7", "142857142857142857142857142857.1428571428571428571"),
        ("1 / 10**70", "1e-70"),
        ("7 // 2 + -7 // 2", "-1"),
        ("-7 % 3", "2"),
        ("7.5 % 2", "1.5"),
        ("2 ** -2", "0.25"),
        ("0 ** 0", "1"),
        ("(-1) ** (9 ** 9)", "-1"),
        ("2 ** 100", "1267650600228229401496703205376"),
        ("3 \u00d7 4 \u00f7 2 \u2212 1", "5"),
        ("1 +\n 2", "3"),
        ("sqrt(2.25) + 4 ** 0.5", "3.5"),
        ("sqrt(2)", "1.4142135623731"),
        ("abs(-3.5)", "3.5"),
        ("round(2.675, 2)", "2.68"),
        ("round(2.5)", "2"),
        ("round(pi, 2)", "3.14"),
        ("floor(-1.5) + ceil(1.2)", "0"),
        ("min(3, 1.5, pi) + max([1, 2])", "3.5"),
        ("sum([0.1, 0.2, 0.3])", "0.6"),
        ("factorial(20)", "2432902008176640000"),
        ("gcd(12, 18)", "6"),
        ("log(e)", "1"),
        ("log(1000, 10) + log10(0.01) + log2(8)", "4"),
        ("exp(0)", "1"),
        ("degrees(pi)", "180"),
        ("cos(0) + atan2(0, 1)", "1"),
        ("\u03c0 / pi", "1"),
        (LONG_SUM, "491"),
    ],
)
def test_results(expression: str, result: str) -> None:
    assert written(evaluate(expression)) == result


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "1 +",
        "(" * 50,
        "(" * 300 + "1" + ")" * 300,
        "-" * 999 + "1",
        "2**" * 300 + "1",
        "1" * 1_001,
        "9**9**9",
        "9**9**9**9",
        "(9**9)**(9**9)",
        "2**(10**10)",
        "2**-(10**10)",
        "(1/3)**100000",
        "(2**9000) * (2**9000)",
        "factorial(1001)",
        "factorial(10**9)",
        "factorial(factorial(100))",
        "factorial(-1)",
        "factorial(1.5)",
        "1e99999",
        "1e9999999999",
        "exp(1e9)",
        "exp(exp(exp(10)))",
        "pi ** 1e9",
        "1e308 * pi * 10",
        "1 / 0",
        "1 % 0",
        "1 // 0.0",
        "0 ** -1",
        "(-8) ** (1/3)",
        "sqrt(-1)",
        "log(0)",
        "log(8, 1)",
        "asin(2)",
        "round(1, 10**9)",
        "round(1, 0.5)",
        "abs()",
        "abs(1, 2)",
        "min()",
        "sqrt([[1]])",
        "[1, 2]",
        "1, 2",
        "[0] * 1000",
        "2 ^ 3",
        "2 & 3",
        "1 << 1000000",
        "~1",
        "1 < 2",
        "1 if 1 else 2",
        "1if 2else 3",
        "not 1",
        "1 and 2",
        "True",
        "None",
        "1j",
        "0x10",
        "'a' * 10",
        "x",
        "nan",
        "inf",
        "float('inf')",
        "eval('1')",
        "__import__('os').system('id')",
        "().__class__",
        "(1).real",
        "pi.real",
        "abs(x=1)",
        "abs(*[1])",
        "abs(abs)",
        "lambda: 1",
        "[x for x in [1]]",
        "(x := 1)",
        "1 @ 2",
        "await 1",
        "1\x00",
        "\ud800",
        "\u0661 + 1",
    ],
)
def test_refusals_come_quickly_and_say_why(expression: str) -> None:
    with pytest.raises(ArithmeticRefusedError) as refusal:
        evaluate(expression)
    assert 10 < len(str(refusal.value)) < 200
    assert cost(expression) < 30 * cost(LONG_SUM)


@pytest.mark.parametrize(
    "expression",
    [
        "*".join(["factorial(999)"] + ["1"] * 490),
        "+".join(f"1/{1009 + 2 * n}" for n in range(140)),
        "+".join(["2**9990"] * 120),
        "%".join(["(3**6000)", *["(3**5999)"] * 90]),
        "round(" * 50 + "1/3" + ",99)" * 50,
        "sum([" + ",".join(["factorial(1000)"] * 60) + "])",
        "1/3**6000",
    ],
)
def test_the_most_that_fits_takes_little_time(expression: str) -> None:
    written(evaluate(expression))
    assert cost(expression) < 30 * cost(LONG_SUM)


whole = st.integers(-(10**6), 10**6).map(lambda number: f"({number})")
decimals = st.decimals(-1000, 1000, places=3).map(lambda number: f"({number})")


def trees(leaves: st.SearchStrategy[str], operators: list[str]) -> st.SearchStrategy[str]:
    joined = st.sampled_from(operators)
    return st.recursive(
        leaves, lambda inner: st.tuples(inner, joined, inner).map(lambda part: f"({' '.join(part)})"), max_leaves=8
    )


@given(trees(whole, ["+", "-", "*", "//", "%"]))
def test_whole_numbers_agree_with_python(expression: str) -> None:
    try:
        expected = eval(expression)
    except ZeroDivisionError:
        with pytest.raises(ArithmeticRefusedError):
            evaluate(expression)
        return
    assert written(evaluate(expression)) == str(expected)


@given(st.lists(st.tuples(st.sampled_from("+-*/"), st.decimals(-1000, 1000, places=3)), min_size=1, max_size=8))
def test_decimals_agree_with_fractions(steps: list[tuple[str, object]]) -> None:
    expected, expression = Fraction(0), "0"
    for sign, number in steps:
        value = Fraction(str(number))
        assume(sign != "/" or value)
        expression = f"({expression}) {sign} ({number})"
        expected = {
            "+": expected.__add__,
            "-": expected.__sub__,
            "*": expected.__mul__,
            "/": expected.__truediv__,
        }[sign](value)
    assert evaluate(expression) == expected
    assert math.isclose(Fraction(written(expected)), expected, rel_tol=1e-15)


@given(st.integers(-50, 50), st.integers(-20, 60))
def test_powers_agree_with_python(base: int, exponent: int) -> None:
    assume(base or exponent >= 0)
    assert evaluate(f"({base}) ** ({exponent})") == Fraction(base) ** exponent


@given(st.fractions())
def test_what_ends_is_written_exactly(number: Fraction) -> None:
    ends = Fraction(number.numerator, 2**5 * 5**3)
    assume(abs(ends.numerator) < 10**50)
    assert Fraction(written(ends)) == ends


@given(st.text(alphabet="0123456789.+-*/%() ,[]episqrtlogabmx\n", max_size=60))
def test_whatever_is_written_is_computed_or_refused(expression: str) -> None:
    try:
        number = evaluate(expression)
    except ArithmeticRefusedError:
        return
    assert written(number)

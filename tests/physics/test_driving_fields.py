"""Fields as expressions of the time: their values, and what is refused."""

import math

import numpy as np
import pytest

from mace_smile.errors import UserError
from mace_smile.physics.driving_fields import FieldExpression


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0, 0, 0.05", [0, 0, 0.05]),
        ("0, 0, 0.05*sin(2*pi*t/100)", [0, 0, 0.05 * math.sin(0.24 * math.pi)]),
        ("-t/10, +2**-1, max(0, 1 - t)", [-1.2, 0.5, 0]),
        (
            "0.1 if 10 < t <= 12 else 0, (t < 5)*0.3, exp(-((t-10)/4)**2)",
            [0.1, 0, math.exp(-0.25)],
        ),
        ("abs(-t), t % 5, sqrt(16) + log(1) + erf(0)", [12, 2, 4]),
    ],
)
def test_values_are_those_of_the_formula(text, expected):
    np.testing.assert_allclose(FieldExpression(text)(12.0), expected, atol=1e-15)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0, 0", "has 2 component"),
        ("0.05", "has 1 component"),
        ("", "no expression"),
        ("0, 0, 0.05*", "is no expression"),
        ("0, 0, 1) + (2", "is no expression|component"),
        ("0, 0, E0", "names 'E0', which is not known; there are t"),
        ("0, 0, sign(t)", "calls 'sign', which is not known"),
        ("0, 0, __import__('os').getcwd()", "is not allowed"),
        ("0, 0, open('x')", "calls 'open'"),
        ("0, 0, (1).real", "is not allowed"),
        ("0, 0, 'a'", "is not allowed"),
        ("0, 0, True", "is not allowed"),
        ("0, 0, 1j", "is not allowed"),
        ("0, 0, sin(x=1)", "is not allowed"),
        ("*(0, 0), 0, 0", "is not allowed"),
        ("0, 0, (lambda: 1)()", "is not allowed"),
        ("0, 0, [t for t in (1,)]", "is not allowed"),
        ("0, 0, " + "1+" * 600 + "1", "characters"),
        ("0, 0, " + "(" * 300 + "1" + ")" * 300, "is no expression"),
    ],
)
def test_what_is_no_field_is_refused_when_read(text, message):
    with pytest.raises(UserError, match=message):
        FieldExpression(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0, 1/t, 0", "y component .* t = 0 fs"),
        ("0, 0, log(t)", "z component"),
        ("0, 0, 1e308*10", "gives inf"),
        ("1e400 - 1e400, 0, 0", "x component .* gives nan"),
        ("0, 0, 9.0**9**9**9", "z component"),
        ("0, 0, (-1)**0.5", "z component"),
        ("0, 0, sin()", "z component"),
        ("0, 0, sin(1, 2)", "z component"),
    ],
)
def test_a_value_that_is_no_number_is_refused(text, message):
    with pytest.raises(UserError, match=message):
        FieldExpression(text)(0.0)

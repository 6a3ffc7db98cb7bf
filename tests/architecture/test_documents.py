"""Documents that are written from the code agree with it."""

import ast

from scripts.error_codes import DOCUMENT, Found, error_kinds, found_in, rendered
from taskforce.core.domain.errors import Kind


def test_the_list_of_error_codes_is_what_the_code_has() -> None:
    assert DOCUMENT.read_text() == rendered(), "run `make errors`"


def test_an_error_of_a_derived_class_is_found_with_its_kind_and_its_words() -> None:
    tree = ast.parse(
        "class Late(Conflict): ...\n"
        "raise Late('too_late' if late else f'{noun}_early', f'It is {hour} ' 'already.')\n"
        "raise ValueError('no code of ours')\n"
    )
    assert list(found_in(tree, error_kinds([tree]), {})) == [
        Found("too_late", Kind.CONFLICT, "It is … already."),
        Found("…_early", Kind.CONFLICT, "It is … already."),
    ]

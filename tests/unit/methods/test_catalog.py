"""Methods by name and back, and with other options."""

import pytest

from workbench.errors import ConfigError
from workbench.methods.catalog import (
    METHODS,
    make_method,
    method_name,
    resolved_options,
    with_options,
)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_knows_its_name_and_options(name):
    method = make_method(name, {})

    assert method_name(method) == name
    assert make_method(name, resolved_options(method)) == method
    assert with_options(method, {}) == method


def test_what_is_not_in_the_catalog_has_no_name():
    with pytest.raises(ValueError, match=r"^builtins:dict is no method of the catalog$"):
        method_name({})


def test_a_change_keeps_the_other_options_and_is_checked():
    method = make_method("lora", {"rank": 4, "steps": 7})

    assert with_options(method, {"rank": 8}) == make_method("lora", {"rank": 8, "steps": 7})
    with pytest.raises(ConfigError) as caught:
        with_options(method, {"rank": 0})
    assert str(caught.value) == "methods.lora.rank: 0 is out of bounds; allowed: 1 to 512"

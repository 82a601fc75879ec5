"""Finding weights: a name that can be nothing is refused in words."""

import pytest

from workbench.errors import ModelError
from workbench.models.weights import find_weights, locate_weights


@pytest.mark.parametrize("name", ["a b/c d", "x/" + "y" * 5000, "a/b\0c", "../../nowhere/at/all"])
def test_a_name_that_is_neither_folder_nor_id_is_one_message(name):
    for look in (find_weights, locate_weights):
        with pytest.raises(ModelError, match="neither a folder nor an id of the Hub"):
            look(name)

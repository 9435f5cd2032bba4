import pytest

from rdl_cli.commands.listing import KINDS, LayerInfo, list_layers, list_members
from rdl_cli.core.errors import UserError


@pytest.mark.parametrize("kind", KINDS)
def test_list_members_describes_every_member(kind):
    for member in list_members(kind):
        assert len(member.summary) > 10 and not member.summary[0].islower(), member.name
        assert len(member.summary) <= 100, member.name


def test_list_members_refuses_an_unknown_kind():
    with pytest.raises(UserError, match="no kind `distance`; did you mean `distances`"):
        list_members("distance")


def test_list_layers_of_a_network_and_of_a_run(teacher):
    layers = list_layers("mnist-cnn", "1x8x8", classes=7)
    assert layers[-1] == LayerInfo("logits", (7,), 7)
    assert [layer.name for layer in list_layers(str(teacher))] == [layer.name for layer in layers]
    with pytest.raises(UserError, match="--input-size 1x8x8 has no effect"):
        list_layers(str(teacher), "1x8x8")
    with pytest.raises(UserError, match="--classes is 0"):
        list_layers("mnist-cnn", classes=0)

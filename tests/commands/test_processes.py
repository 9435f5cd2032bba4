"""The processes that torchrun starts: bad environments, and one error for all."""

import pytest
import torch

from rdl_cli.commands.processes import (
    ALONE,
    VARIABLES,
    joined_processes,
    local_device,
    read_world,
    require_one_process,
)
from rdl_cli.core.errors import UserError


@pytest.fixture
def torchrun(monkeypatch):
    """Set the variables of torchrun for the first of two processes."""
    values = {"RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in {**values, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("value", ["many", "", "0", "-1", "2.0"])
@pytest.mark.parametrize("variable", ["WORLD_SIZE", "LOCAL_WORLD_SIZE"])
def test_read_world_refuses_what_is_no_number(variable, value, torchrun, monkeypatch):
    monkeypatch.setenv(variable, value)
    with pytest.raises(UserError, match=f"{variable} is `{value}`, not a number") as caught:
        read_world()
    assert caught.value.hint == f"unset {variable}, or start with torchrun"


@pytest.mark.parametrize("variable", VARIABLES)
def test_read_world_refuses_a_world_size_without_torchrun(variable, torchrun, monkeypatch):
    assert read_world() == (2, 2)
    monkeypatch.delenv(variable)
    with pytest.raises(UserError, match=f"WORLD_SIZE is 2, but {variable} is not set"):
        read_world()


@pytest.mark.parametrize("local", ["3", "4"])
def test_read_world_refuses_processes_that_do_not_add_up(local, torchrun, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", local)
    with pytest.raises(UserError, match=f"WORLD_SIZE is 2 and LOCAL_WORLD_SIZE is {local}"):
        read_world()


def test_require_one_process_refuses_torchrun(torchrun):
    with pytest.raises(UserError, match="an import uses one process; torchrun started 2"):
        require_one_process("an import")


def test_local_device_refuses_more_processes_than_gpus(torchrun, monkeypatch):
    assert local_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="started 2 processes here, and this machine has 1 GPUs"):
        local_device("cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert local_device("cuda") == torch.device("cuda", 1)


def test_processes_alone_return_their_own_value_and_raise_their_own_error():
    with joined_processes() as processes:
        assert processes == ALONE and processes.gather(3) == [3]
        error = UserError("no")
        with pytest.raises(UserError) as caught, processes.share_errors():
            raise error
        assert caught.value is error

"""What a trial's process begins before it needs it, on a GPU; and nothing of it on a CPU."""

import json

import pytest
import torch

from trainer import beginning

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

DRIVER = """
import ctypes, json, sys, threading
from trainer.ahead import wake_driver

wake_driver()
for thread in threading.enumerate():
    if thread is not threading.current_thread():
        thread.join()
flags, active = ctypes.c_uint(), ctypes.c_int()
initialised = ctypes.CDLL("libcuda.so.1").cuDevicePrimaryCtxGetState(0, ctypes.byref(flags), ctypes.byref(active)) == 0
print(json.dumps([initialised, active.value, "torch" in sys.modules]))
"""

GROUP = """
import json, threading
import torch
from trainer.beginning import begin
from trainer.engine import start_process
from trainer.ranks import SINGLE

begin(torch.device("cuda", 0))
start_process(torch.device("cuda", 0), SINGLE)
for thread in threading.enumerate():
    if thread.name.startswith("arbor-begin"):
        thread.join()
from triton.runtime.cache import triton_key
print(json.dumps([torch.distributed.get_backend(), torch.distributed.get_world_size(), triton_key.cache_info().currsize]))
"""


def test_nothing_is_begun_on_a_cpu():
    beginning.begin(torch.device("cpu"))
    assert beginning._joining is None


@pytest.mark.gpu
@needs_gpu
def test_the_driver_is_up_before_torch_and_has_taken_nothing_of_a_gpu(fresh_python):
    assert json.loads(fresh_python("-c", DRIVER)) == [True, 0, False]


@pytest.mark.gpu
@needs_gpu
def test_the_group_of_one_and_tritons_hash_are_there_when_the_engine_is(fresh_python):
    assert json.loads(fresh_python("-c", GROUP).splitlines()[-1]) == ["nccl", 1, 1]

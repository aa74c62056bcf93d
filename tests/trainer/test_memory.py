"""Which errors say that the device's memory is full, and how a batch is cut finer then."""

import torch

from trainer.memory import FINEST, finer, is_out_of_memory


def test_only_errors_of_the_devices_memory_are_taken_for_one():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."))
    assert is_out_of_memory(RuntimeError("CUDA error: out of memory"))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    for error in (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), MemoryError(), ValueError("out of memory"),
                  RuntimeError("DefaultCPUAllocator: can't allocate memory")):  # fmt: skip
        assert not is_out_of_memory(error)


def test_a_batch_is_cut_into_at_least_twice_as_many_equal_parts_up_to_a_limit():
    assert [finer(512, 1, parts) for parts in (1, 2, 4, 8, 16)] == [2, 4, 8, 16, None]
    assert [finer(512, 4, parts) for parts in (4, 8, 16, 32, 64)] == [8, 16, 32, 64, None]
    assert finer(500, 1, 4) == 10, "8 would leave a rest"
    assert finer(7, 1, 1) == 7
    assert finer(126 // 2, 1, 1) == 3, "of two workers: in 2 parts of 126 each would have 31.5 images"
    assert finer(8, 1, 8) is None, "one image at once is the least"
    assert finer(509, 1, 1) is None, "a prime would need a step of 509 parts"
    assert FINEST == 16

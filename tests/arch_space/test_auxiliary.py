"""The channel by which a module adds to the training loss."""

import torch
from torch import Tensor, nn

from arch_space.auxiliary import auxiliary_loss
from arch_space.ffn.fff_soft import FFFSoftConfig
from arch_space.model import ModelConfig
from arch_space.vit_tiny import Block


class Decay(nn.Module):
    """Squares of its weight as a loss of its own."""

    auxiliary_loss: Tensor | None = None

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight]))

    def forward(self, x: Tensor) -> Tensor:
        y = x * self.weight
        self.auxiliary_loss = y.square().mean() if self.training else None
        return y


def test_the_losses_of_all_modules_are_summed_with_their_gradient_and_taken_once() -> None:
    model = nn.Sequential(Decay(2.0), nn.Identity(), nn.Sequential(Decay(3.0)))
    model(torch.ones(4))
    total = auxiliary_loss(model)
    assert total is not None
    assert total.item() == 2.0**2 + 6.0**2
    total.backward()
    assert model[0].weight.grad.item() == 2 * 2 + 2 * 2 * 3**2
    assert auxiliary_loss(model) is None


def test_a_model_without_auxiliary_losses_or_in_evaluation_has_none() -> None:
    assert auxiliary_loss(nn.Sequential(nn.Linear(2, 2))) is None
    model = nn.Sequential(Decay(2.0)).eval()
    model(torch.ones(4))
    assert auxiliary_loss(model) is None


def test_a_compiled_block_hands_out_the_loss_of_each_step_and_its_gradient() -> None:
    """By tracing, as on a GPU, with inputs that change: a value that was kept from the first step would show."""
    from torch._dynamo.testing import CompileCounterWithBackend  # seconds to import

    config = ModelConfig(dim=8, depth=1, heads=1, patch=16, dropout=0.0, layout="pair", ffn=FFFSoftConfig(depth=2))
    block = nn.Sequential(Block(config))
    torch.manual_seed(0)
    plain = {name: value.clone() for name, value in block.state_dict().items()}
    inputs = [torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]

    def run(compiled: bool) -> list[tuple[Tensor, Tensor, list[Tensor]]]:
        block.load_state_dict(plain)
        found = []
        for x in inputs:
            block.zero_grad()
            block.eval()(x)  # as the validation between epochs does
            assert auxiliary_loss(block) is None
            y = block.train()(x)
            extra = auxiliary_loss(block)
            assert extra is not None, compiled
            (y.square().mean() + extra).backward()
            found.append((y.detach(), extra.detach(), [p.grad.clone() for p in block.parameters()]))
        return found

    expected = run(compiled=False)
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    block[0].compile(backend=counter)
    torch.testing.assert_close(run(compiled=True), expected)
    assert counter.frame_count == 2, "once for training and once for evaluation, without breaks and never anew"
    assert len({extra.item() for _, extra, _ in expected}) == len(inputs)

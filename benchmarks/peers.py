"""The peers' Hessian products behind one signature: a list of tensors to a list of tensors."""

import warnings
from collections.abc import Callable

import torch
from curvlinops import GGNLinearOperator, HessianLinearOperator
from pyhessian import hessian
from torch import nn

try:
    from hessian_eigenthings import HessianOperator
    from hessian_eigenthings.loss_fns import supervised_loss
except ImportError:
    HessianOperator = None

Tensors = list[torch.Tensor]
Batches = list[tuple[torch.Tensor, torch.Tensor]]
Product = Callable[[Tensors], Tensors]

# PyHessian: backward(create_graph=True), which keeps every gradient's graph alive.
warnings.filterwarnings("ignore", message="Using backward\\(\\) with create_graph=True")


def curvlinops_operator(
    module: nn.Module, batches: Batches, *, gauss_newton: bool = False, check: bool = True
) -> HessianLinearOperator | GGNLinearOperator:
    operator = GGNLinearOperator if gauss_newton else HessianLinearOperator
    parameters = list(module.parameters())
    loss = nn.CrossEntropyLoss()
    return operator(module, loss, parameters, batches, check_deterministic=check)


def pyhessian_operator(module: nn.Module, batches: Batches) -> hessian:
    return hessian(module, nn.CrossEntropyLoss(), dataloader=batches, cuda=False)


def products(module: nn.Module, batches: Batches) -> dict[str, Product]:
    """Hessian products over the whole data set, by library; of those that are installed."""
    curvlinops = curvlinops_operator(module, batches)
    by_pyhessian = pyhessian_operator(module, batches)
    found: dict[str, Product] = {
        "curvlinops": lambda vector: curvlinops @ vector,
        "PyHessian": lambda vector: by_pyhessian.dataloader_hv_product(vector)[1],
    }
    if HessianOperator is not None:
        eigenthings = HessianOperator(module, batches, supervised_loss(nn.CrossEntropyLoss()))
        sizes = [parameter.numel() for parameter in module.parameters()]

        def by_eigenthings(vector: Tensors) -> Tensors:
            flat = torch.cat([tensor.reshape(-1) for tensor in vector])
            return list(eigenthings.matvec(flat).split(sizes))

        found["eigenthings"] = by_eigenthings
    return found

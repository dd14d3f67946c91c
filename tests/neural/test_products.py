"""Products in a loop over steps: the numbers are those of the matrices, by every library and layout."""

import pytest
import torch

from lmkit.neural import products


@pytest.mark.parametrize("mkl", [False, True])
@pytest.mark.parametrize("large", [0, 2**40])
def test_products_are_products(large, mkl, monkeypatch):
    """By either library, laid out once or not, a product is that of its matrices."""
    monkeypatch.setattr(products, "LARGE", large)
    monkeypatch.setattr(products, "mkl_leads", lambda: mkl)
    torch.manual_seed(0)
    weight, bias, x, base = torch.randn(24, 16), torch.randn(24), torch.randn(3, 16), torch.randn(3, 24)
    wanted = x @ weight.T
    with torch.no_grad():
        fixed = products.FixedProduct(weight, None, 3)
        torch.testing.assert_close(fixed(x), wanted)
        torch.testing.assert_close(fixed.added_to(base.clone(), x), wanted + base)
        torch.testing.assert_close(products.FixedProduct(weight, bias, 3)(x), wanted + bias)
        torch.testing.assert_close(products.FixedProduct(weight.T, None, 3)(base), base @ weight)
        torch.testing.assert_close(products.weight_gradient(base, x), base.T @ x)
        torch.testing.assert_close(products.input_gradient(base, weight), base @ weight)
    x.requires_grad_()
    products.FixedProduct(weight, bias, 3)(x).sum().backward()
    torch.testing.assert_close(x.grad, weight.sum(0).expand(3, -1))

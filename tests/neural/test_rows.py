"""The rows that a step reads: the same values, and a gradient in those rows only."""

import torch
from torch import nn

from lmkit.neural.rows import TokenRows


def test_rows_of_a_matrix_and_of_a_vector():
    """`of` has the rows of the distinct ids, `places` says where each id's row is."""
    rows = TokenRows(torch.tensor([7, 2, 7, 4]))
    matrix, vector = nn.Parameter(torch.randn(9, 3)), nn.Parameter(torch.randn(9))
    assert rows.ids.tolist() == [2, 4, 7]
    assert torch.equal(rows.of(matrix)[rows.places(torch.tensor([4, 7]))], matrix[[4, 7]])
    assert torch.equal(rows.of(vector), vector[[2, 4, 7]])


def test_gradient_is_that_of_indexing():
    """Two uses of one matrix have one sparse gradient, equal to the dense one of indexing."""
    rows = TokenRows(torch.tensor([5, 1, 1]))
    ours = nn.Parameter(torch.randn(6, 2, dtype=torch.float64))
    theirs = nn.Parameter(ours.detach().clone())
    (rows.of(ours).sin().sum() + rows.of(ours)[0].exp().sum()).backward()
    (theirs[[1, 5]].sin().sum() + theirs[1].exp().sum()).backward()
    assert ours.grad.is_sparse
    torch.testing.assert_close(ours.grad.to_dense(), theirs.grad)

"""NT-Xent of more than two views of each picture: every other view of the picture is a positive."""

import torch
from torch import Tensor

from lib.errors import WorkbookError


def multi_view_rows(rows: Tensor, views: int, temperature: float, one_sided: bool = False) -> Tensor:
    """Loss (views * n,) of unit embeddings (views * n, d), rows i, i + n, ... one picture: mean over a row's positives.

    For two views it is NT-Xent (SimCLR, equation 1); for more it is the loss of RoCL's and AdvCL's codes. one_sided:
    gradients flow through one side of the similarity alone, as in RoCL's code; the value is the same.
    """
    if views < 2 or len(rows) % views:
        raise WorkbookError(f"{len(rows)} rows are not {views} views of the same pictures: stack whole views.")
    picture = torch.arange(len(rows) // views, device=rows.device).repeat(views)
    same = (picture[:, None] == picture).fill_diagonal_(False)
    with torch.autocast(rows.device.type, enabled=False):
        rows = rows.float()
        similarity = rows @ (rows.detach() if one_sided else rows).T / temperature
    chance = similarity.fill_diagonal_(-torch.inf).log_softmax(1)
    return -chance.masked_fill(~same, 0).sum(1) / (views - 1)

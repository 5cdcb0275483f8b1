"""How pages 12 to 14 sum up what they measured: pictures of features in the plane."""

import torch
from torch import Tensor


def plane_of(features: Tensor, seed: int = 0, quick: bool = False) -> Tensor:
    """Points (n, 2) of features (n, C): their UMAP, as in the source's Figures 4 and 5.

    quick: the two first principal components instead, for a rehearsal: UMAP is compiled anew in each process, for ten
    seconds. UMAP gives torch the threads of the whole machine, which small networks lose by; the number is put back.
    """
    if quick:
        centred = features - features.mean(0)
        return centred @ torch.linalg.svd(centred, full_matrices=False).Vh[:2].T
    from umap import UMAP

    threads = torch.get_num_threads()
    near = min(15, len(features) - 2)
    try:
        flat = UMAP(n_neighbors=near, init="pca", random_state=seed, n_jobs=1).fit_transform(features.numpy())
    finally:
        torch.set_num_threads(threads)
    return torch.from_numpy(flat)

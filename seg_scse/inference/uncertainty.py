"""How unsure a prediction is."""

import torch
from torch import Tensor


def entropy_of(probabilities: Tensor, multilabel: bool = False) -> Tensor:
    """Return the entropy of the predicted distribution of each pixel, H = -sum_k p_k ln p_k.

    Of the mean over several passes it is the whole uncertainty; less the mean entropy of the passes (`Strip.entropy`)
    what remains is their disagreement, the mutual information of Houlsby et al. (arXiv 1112.5745), never below 0.

    Args:
        probabilities: (K', H, W) or (N, K', H, W), as a network predicts them: K' = 1 for two classes.
        multilabel: whether they are independent of each other; the entropy is then the sum of those of all classes.

    Returns:
        (H, W) or (N, H, W) in nats: at most ln K, for multilabel K' ln 2.
    """
    entropy: Tensor = torch.special.entr(probabilities).sum(-3)
    if multilabel or probabilities.shape[-3] == 1:
        entropy += torch.special.entr(1 - probabilities).sum(-3)
    return entropy

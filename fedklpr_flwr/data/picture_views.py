"""Several looks at one picture, so that a feature depends less on how a person was cut out."""

from torch import Tensor, arange

_SHARE = 21
"""A moved view is moved by 1/21 of the height or width: 6 of 128 rows, 3 of 64 columns."""

_AS_IT_IS, _MIRRORED = 0, 1
_STEPS = {2: (-1, 0), 3: (1, 0), 4: (0, -1), 5: (0, 1)}
"""Of the other views, down and to the right."""


def view_of(pictures: Tensor, number: int) -> Tensor:
    """A view of pictures: as they are, mirrored, or moved a little, their edges repeated.

    Args:
        pictures: (B, C, H, W), any dtype.
        number: 0 = as they are (the same tensor), 1 = mirrored, 2 to 5 = moved up, down, left,
            right.

    Returns:
        The same shape and dtype.
    """
    if number == _AS_IT_IS:
        return pictures
    if number == _MIRRORED:
        return pictures.flip(-1)
    down, right = _STEPS[number]
    height, width = pictures.shape[-2:]
    rows = _moved(height, down).to(pictures.device)
    columns = _moved(width, right).to(pictures.device)
    return pictures[..., rows, :][..., columns]


def _moved(size: int, steps: int) -> Tensor:
    """From which place each place of an axis is taken."""
    return (arange(size) - steps * max(1, size // _SHARE)).clamp(0, size - 1)

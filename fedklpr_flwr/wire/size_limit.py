"""How long a payload of a layout can be at most: what a receiver refuses before it copies it."""

from fedklpr_flwr.wire.header import CHECKSUM, HEADER, RECORD
from fedklpr_flwr.wire.layout import Layout, TensorSpec


def largest_payload(layout: Layout) -> int:
    """Give the size that no payload of a layout is beyond, whatever its form, level and masks.

    No section is longer than uncoded, so that is what each is counted as.

    Args:
        layout: the tensors that travel.

    Returns:
        Bytes.
    """
    front = HEADER.size + RECORD.itemsize * len(layout) + CHECKSUM.size
    return front + sum(_largest_tensor(spec) for spec in layout)


def _largest_tensor(spec: TensorSpec) -> int:
    """A bit a coordinate where it may be pruned, and all its values kept, in the longest form."""
    mask = -(-spec.size // 8) if spec.prunable else 0
    int8 = spec.size + 4 * spec.channels if len(spec.shape) >= 2 else 0
    change = 2 * spec.size + 4 if spec.size else 0
    # int8 is larger where an axis is 0, or two are 1; a change where there is one number.
    return mask + max(4 * spec.size, int8, change)

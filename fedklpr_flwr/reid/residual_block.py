"""The basic block of a residual network, for networks that need nothing else of torchvision.

Importing torchvision's models takes a second, and a SuperNode starts a process for every message.
"""

from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions, each batch-normalised, around which the input passes.

    y = relu(BN(conv2(relu(BN(conv1(x))))) + shortcut(x)). Names, random numbers and values are
    those of torchvision's BasicBlock.

    Source: He et al., "Deep residual learning for image recognition", 2016.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        """Makes the block; the shortcut is a projection where the shape changes.

        Args:
            inputs: channels in.
            outputs: channels out.
            stride: of the first convolution and the projection.
        """
        super().__init__()
        shortcut = None
        if stride != 1 or inputs != outputs:
            shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = shortcut

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B,inputs,h,w) float32 to (B,outputs,h/stride,w/stride)."""
        passed = maps if self.downsample is None else self.downsample(maps)
        changed = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(maps)))))
        changed += passed
        result: Tensor = self.relu(changed)
        return result

"""What turns an image into tokens, other than cutting it into patches."""

from flax import linen as nn

from landscape.models.layers import ACTIVATIONS, BatchNorm, convolution


class ConvStem(nn.Module):
    """3x3 convolutions with BatchNorm and ReLU, of which some halve the resolution.

    Xiao et al., *Early Convolutions Help Transformers See Better* (arXiv:2106.14881). Their last
    1x1 convolution, with a bias and no norm, is the embedding behind it.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    @nn.compact
    def __call__(self, x, estimate=False, mask=None):
        for layer, (channels, stride) in enumerate(zip(self.channels, self.strides, strict=True)):
            # The standard deviation is of the released code: outputs, not fan-out.
            normal = nn.initializers.normal((2 / channels) ** 0.5)
            x = convolution(channels, stride, f"conv{layer}", kernel_init=normal)(x)
            x = BatchNorm(name=f"bn{layer}")(x, estimate, mask)
            x = ACTIVATIONS["relu"](x)
        return x

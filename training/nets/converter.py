"""A converting autoencoder and the light classifier behind it, as one net.

After CBNet (arXiv 2403.07036). `training.fitting` trains either part.
"""

from torch import Tensor, nn

from training.nets.autoencoders import Autoencoder


class Converter(nn.Module):
    """uint8 pictures [B, H, W] in, the light classifier's logits of the converted ones out."""

    def __init__(self, autoencoder: Autoencoder, classifier: nn.Module) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.classifier = classifier

    def forward(self, pictures: Tensor) -> Tensor:
        return self.classify(self.autoencoder(pictures))

    def classify(self, converted: Tensor) -> Tensor:
        """Logits of pictures in [0, 1]; of the last exit where there are several."""
        answer = self.classifier(converted * 255.0)
        logits: Tensor = answer[-1] if isinstance(answer, tuple) else answer
        return logits


class FixedClassifier(Converter):
    """A converter whose classifier stays as it is while the autoencoder learns."""

    def __init__(self, autoencoder: Autoencoder, classifier: nn.Module) -> None:
        super().__init__(autoencoder, classifier.requires_grad_(False))

    def train(self, mode: bool = True) -> "FixedClassifier":
        super().train(mode)
        self.classifier.eval()
        return self


class FixedAutoencoder(Converter):
    """A converter whose autoencoder stays as it is while the classifier learns."""

    def __init__(self, autoencoder: Autoencoder, classifier: nn.Module) -> None:
        super().__init__(autoencoder.requires_grad_(False), classifier)

    def train(self, mode: bool = True) -> "FixedAutoencoder":
        super().train(mode)
        self.autoencoder.eval()
        return self

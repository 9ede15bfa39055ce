"""Publishes the edges in color that a model of PyTorch finds: a processor of kind `python` for a topology. Needs `torch`."""

import camrig
import torch


class Sobel(torch.nn.Module):
    """The slope of brightness, of images of the shape (batch, 3, height, width) with values from 0 to 1."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = torch.nn.Conv2d(1, 2, 3, padding=1, padding_mode="replicate", bias=False)
        across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
        self.slope.weight = torch.nn.Parameter(torch.stack([across, across.T]).unsqueeze(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        slope: torch.Tensor = self.slope(images.mean(dim=1, keepdim=True))
        strength: torch.Tensor = slope.norm(dim=1)
        return strength


class Edges(camrig.Processor):
    slope: float = 0.05                              # from which on a pixel is an edge

    def __init__(self) -> None:
        self.model = Sobel().eval()

    def process(self, frames: camrig.FrameSet, out: camrig.Outlet) -> None:
        # PyTorch has no read-only tensors, so it gets a copy.
        color = torch.from_dlpack(frames.color.copy())  # type: ignore[attr-defined]
        with torch.inference_mode():
            edges = self.model(color.permute(2, 0, 1).unsqueeze(0) / 255)[0] >= self.slope
        made = out.derive(frames, image=("edges", "y8", tuple(edges.shape)))
        made.array[:] = edges.numpy() * 255
        out.publish(made)

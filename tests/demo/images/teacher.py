"""A teacher from elsewhere: a network of timm, trained by timm and torch alone on the labels of all training images.

    python -m tests.demo.images.teacher photos.zip teacher.safetensors

It takes pixels between 0 and 1, and its file has timm's names.
"""

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.demo.images.photos import CLASSES
from workers.engine.models.families.library.packages import package

NAME = "resnet10t"
SIDE = 32
STEPS, BATCH, RATE = 80, 48, 4e-3


def training_rows(archive: Path) -> tuple[Tensor, Tensor]:
    """The images of the split `train` as pixels [N, 3, SIDE, SIDE] between 0 and 1, and their classes [N]."""
    pixels, labels = [], []
    with zipfile.ZipFile(archive) as file:
        for name in sorted(file.namelist()):
            split, _, rest = name.partition("/")
            if split == "train":
                image = Image.open(io.BytesIO(file.read(name))).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
                pixels.append(np.asarray(image, np.float32) / 255)
                labels.append(CLASSES.index(rest.partition("/")[0]))
    return torch.from_numpy(np.stack(pixels)).movedim(-1, 1).contiguous(), torch.tensor(labels)


def trained(rows: Tensor, labels: Tensor) -> nn.Module:
    """A network of timm, trained on images that are mirrored at random."""
    torch.manual_seed(0)
    network: nn.Module = package("timm").create_model(NAME, num_classes=len(CLASSES))
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    for _ in range(STEPS):
        picked = torch.randint(len(rows), (BATCH,))
        mirrored = torch.rand(BATCH, 1, 1, 1) < 0.5
        batch = torch.where(mirrored, rows[picked].flip(3), rows[picked])
        loss = nn.functional.cross_entropy(network(batch), labels[picked])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return network.eval()


def main(archive: Path, weights: Path) -> None:
    """Train the teacher and write its weights."""
    torch.set_num_threads(1)  # two are slower wherever other work runs beside
    network = trained(*training_rows(archive))
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, weights)
    print(f"{NAME}, {sum(each.numel() for each in network.parameters()):,} parameters")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

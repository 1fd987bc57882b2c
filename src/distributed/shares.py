"""How many images of a batch each device and each batch norm gets."""

from src.errors import UserError
from src.model.device import count_devices, resolve_device
from src.params import Params


def count(params: Params) -> int:
    """The number of devices on all nodes. Raises UserError if this node has fewer than required."""
    return count_devices(params.train.devices, resolve_device(params.device)) * params.train.nodes


def images_per_device(params: Params) -> int:
    """The smallest number of images of a full batch per device. Raises UserError if it is 0."""
    images = params.train.batch_size // count(params)
    if images == 0:
        raise UserError(f"{count(params)} devices share each batch, and each needs at least one image")
    return images


def images_per_norm(params: Params) -> int:
    """The number of images over which a batch norm computes its statistics."""
    return params.train.batch_size if params.train.sync_batch_norm else images_per_device(params)

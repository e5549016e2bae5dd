"""The segmentation networks of the five papers, in one registry."""

from segment.networks.attention_unet import AttentionUNet
from segment.networks.network import Network, count_parameters
from segment.networks.registry import NETWORKS, NetworkEntry, build_network, load_network
from segment.networks.resnext_unet import ResNeXtUNet
from segment.networks.segnet import SegNet
from segment.networks.swin_unet import SwinUNet
from segment.networks.unet import UNet
from segment.networks.unet3plus import UNet3Plus
from segment.networks.vnet import VNet

__all__ = [
    "NETWORKS",
    "AttentionUNet",
    "Network",
    "NetworkEntry",
    "ResNeXtUNet",
    "SegNet",
    "SwinUNet",
    "UNet",
    "UNet3Plus",
    "VNet",
    "build_network",
    "count_parameters",
    "load_network",
]

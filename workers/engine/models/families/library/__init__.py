"""Networks that timm and torchvision build. Neither is imported before such a network is asked for."""

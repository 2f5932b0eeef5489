"""Export of networks: safetensors with a model card, ONNX verified against torch."""

"""Networks as files that live without this service: safetensors with a card, ONNX checked against torch."""

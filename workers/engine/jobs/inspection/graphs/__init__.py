"""ONNX graphs as exporters write them: brought into one closed file, their inputs and outputs matched to names."""

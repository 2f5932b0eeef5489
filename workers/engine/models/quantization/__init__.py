"""Networks and graphs in integers of 8 bits, or numbers of 16.

`fake` trains a network with quantized weights and inputs, `qdq` writes that arithmetic as a graph, `post_training`
quantizes the graph of a network that was trained in float32.
"""

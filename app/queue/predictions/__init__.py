"""Predictions between API and workers: a row is a request, and the answer to it.

The API inserts a row and waits (`exchange`). A worker with the lane `predict` claims free rows, answers them
(`answering`), and is alive as long as it renews its lease (`owners`). The API deletes what was answered; what is left
goes soon after its deadline.
"""

"""Train the learned predictor on simulated runs, and hold it against runs of pipelines and traces that it never saw."""

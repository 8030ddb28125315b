"""Predictors of the hit rate: what share of the requests meets the objective, under a plan and a load."""

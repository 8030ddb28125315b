"""How far predictors are from the engine, on random plans and loads."""

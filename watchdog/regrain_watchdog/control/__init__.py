"""The controller, a process of its own: it watches the load, asks predictors and planner, and changes the plan."""

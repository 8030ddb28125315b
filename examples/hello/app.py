"""The least app there is: one stage, no model, an objective, and a sample to try it with."""

from regrain import SLO, App

app = App("hello", slo=SLO(latency=0.05, attainment=0.99), sample={"name": "world"})


@app.stage()
def greet(name: str) -> str:
    return f"Hello, {name}!"


@app.flow
def hello(name: str = "world") -> str:
    return greet(name)

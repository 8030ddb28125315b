"""Search for the cheapest plan that meets its objective; pure, and bounded by nodes instead of time.

P1 is a separable surrogate: each group has a table of configurations with a cost and a latency, and the latencies of
the groups on a path add up. P2 is the full problem: a plan is judged by a predictor and must fit on the node.
`planner` takes its starts from P1 and decides by P2.
"""

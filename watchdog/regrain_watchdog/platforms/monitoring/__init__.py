"""What watches a deployed app: a scrape job, rules and alerts for Prometheus, a dashboard for Grafana. Pure.

All of it selects by one label, `app`: the function's name, which the scrape job takes from the pod.
"""

"""The embedded gateway: what OpenFaaS' clients build, deploy, invoke and watch functions with, on one machine."""

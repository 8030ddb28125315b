"""Traces by OpenTelemetry, where its variables ask for them. Nothing of it is imported where they do not."""

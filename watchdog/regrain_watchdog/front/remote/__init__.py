"""Groups that other pods of the app run: asked over pooled HTTP/1.1 connections, and served to them in turn."""

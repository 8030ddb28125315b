"""Replay of loads through the policies in force, on a virtual clock; the scenarios that live systems run as well."""

"""Contracts and small tools that every other room builds on."""

"""Contracts and small tools on which every other room builds."""

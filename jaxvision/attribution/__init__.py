"""Explanation of predictions: functions from a score and images to maps of their pixels."""

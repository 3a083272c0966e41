"""Ratios in one run: every candidate once per round, so that a noisy machine affects all of them alike."""
